"""What the ruleset holds for what an app declares; what the kernel makes of it: tests/live/test_port_forwarding.py."""

from dataclasses import replace

import pytest

from conformance.application import Allow, Application, Forward
from conformance.profile import load
from emulator.forwarding import ruleset

PROFILE = load()
VM = "10.199.0.10"
BARE = Application("goon", "terminating", "v", "p", "1.0", 1.0, ("service", "user-plane"))
TRANSLATED = "ip daddr 198.18.0.1 {} dport {} dnat to 10.199.0.10:{}"
ADMITTED = "ip daddr 10.199.0.10 {} dport {} accept"


def rules(application: Application) -> list[str]:
    return [line.strip() for line in ruleset(application, PROFILE, VM).splitlines()]


@pytest.mark.parametrize(
    ("forwards", "allows", "translated", "admitted"),
    [
        ((), (), [], []),
        ((Forward("tcp", 29001, 22),), (), [("tcp", 29001, 22)], [("tcp", 22)]),
        ((), (Allow("udp", 161, "service"),), [], [("udp", 161)]),
        ((), (Allow("udp", 161, "user-plane"),), [], []),
        (
            (Forward("tcp", 29001, 22), Forward("udp", 29001, 53)),
            (Allow("tcp", 22, "service"), Allow("tcp", 80, "service")),
            [("tcp", 29001, 22), ("udp", 29001, 53)],
            [("tcp", 22), ("tcp", 80), ("udp", 53)],
        ),
    ],
)
def test_exactly_what_is_declared(
    forwards: tuple[Forward, ...],
    allows: tuple[Allow, ...],
    translated: list[tuple[str, int, int]],
    admitted: list[tuple[str, int]],
) -> None:
    made = rules(replace(BARE, forwards=forwards, allows=allows))
    assert [line for line in made if "dnat to" in line] == [TRANSLATED.format(*item) for item in translated]
    assert [line for line in made if line.startswith(f"ip daddr {VM}")] == [ADMITTED.format(*i) for i in admitted]


def test_the_same_app_gives_the_same_script() -> None:
    some = replace(BARE, allows=tuple(Allow("tcp", port, "service") for port in (443, 80, 22)))
    assert ruleset(some, PROFILE, VM) == ruleset(replace(some, allows=some.allows[::-1]), PROFILE, VM)
