"""SWAM's reports: counts and deltas, and a SWAM that is away, fails or answers late."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conformance.application import Application, Feature
from emulator.swam import Outbox, Report

GOON = Application(
    "goon", "terminating", "Example", "GoOn", "1.2", 1.0, ("service",),
    features=(Feature("echo", "Echo", "S-1", True), Feature("upper", "Upper", "S-2", False)),
)  # fmt: skip


def counts(report: Report) -> dict[str, tuple[str, int, int]]:
    return {usage.id: (usage.state, usage.count, usage.delta) for usage in report.features}


class Swam:
    """A SWAM that answers with the statuses it is told, then 204; it counts a key once."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.taken: dict[str, dict[str, object]] = {}
        self.tries = 0

    @contextmanager
    def serving(self) -> Iterator[str]:
        swam = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                swam.tries += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = swam.statuses.pop(0) if swam.statuses else 204
                if status < 400:  # a status of 100 or less: it took the report, and its answer is lost
                    swam.taken[self.headers["Idempotency-Key"]] = json.loads(body)
                if status > 100:
                    self.send_response(status)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/reports"
            finally:
                server.shutdown()
                thread.join()


def test_counts_and_deltas(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    first = outbox.report(GOON, ["echo"], 100.0)
    assert (first.application, first.version, first.count, first.delta) == ("goon", "1.2", 1, 1)
    assert counts(first) == {"echo": ("on", 1, 1), "upper": ("off", 0, 0)}
    assert [usage.salesItem for usage in first.features] == ["S-1", "S-2"]
    assert counts(outbox.report(GOON, ["upper"], 101.0)) == {"echo": ("off", 0, -1), "upper": ("on", 1, 1)}
    again = Outbox(tmp_path).report(GOON, ["upper"], 102.0)
    assert counts(again) == {"echo": ("off", 0, 0), "upper": ("on", 1, 0)}, "the folder is the only state"
    gone = outbox.report(GOON, ["upper"], 103.0, deployed=False)
    assert (gone.count, gone.delta) == (0, -1) and counts(gone)["upper"] == ("off", 0, -1)
    keys = [json.loads(path.read_text())["key"] for path in outbox.waiting()]
    assert len(set(keys)) == 4 and Report.from_json(gone.to_json()) == gone


def test_the_tenth_report_comes_after_the_ninth(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    times = [outbox.report(GOON, [], float(n)).time for n in range(11)]
    assert [json.loads(path.read_text())["time"] for path in outbox.waiting()] == times


def test_reports_wait_until_they_are_taken(tmp_path: Path) -> None:
    outbox, swam = Outbox(tmp_path), Swam(500, 503)
    made = [outbox.report(GOON, ["echo"], 1.0), outbox.report(GOON, [], 2.0)]
    assert not outbox.forward("http://127.0.0.1:1/reports"), "nobody listens"
    with swam.serving() as url:
        assert not outbox.forward(url) and not outbox.forward(url) and len(outbox.waiting()) == 2
        assert outbox.forward(url) and outbox.waiting() == []
        assert outbox.forward(url) and swam.tries == 4, "nothing is sent twice that was taken"
    assert list(swam.taken) == [report.key for report in made], "in their order"


def test_a_lost_answer_does_not_double_a_report(tmp_path: Path) -> None:
    outbox, swam = Outbox(tmp_path), Swam(100)
    report = outbox.report(GOON, ["echo"], 1.0)
    with swam.serving() as url:
        assert not outbox.forward(url)
        assert outbox.forward(url)
    assert swam.tries == 2 and list(swam.taken) == [report.key]


def test_a_report_that_was_not_finished_is_none(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.report(GOON, [], 1.0)
    (tmp_path / "report-2.part").write_text('{"key": "cut')
    assert len(outbox.waiting()) == 1 and outbox.report(GOON, ["echo"], 2.0).features[0].delta == 1
