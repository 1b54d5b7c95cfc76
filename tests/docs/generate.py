"""Renews what is generated from the code's own tables: docs/trace.md below its heading "Kinds", and the JSON Schema."""

import json
from pathlib import Path

from conformance.trace_kinds import json_schema, markdown_table

REPOSITORY = Path(__file__).resolve().parents[2]
TRACE_PAGE = REPOSITORY / "docs" / "trace.md"
TRACE_SCHEMA = REPOSITORY / "conformance" / "data" / "schemas" / "racs-trace-1.json"
HEADING = "## Kinds\n\n"


def trace_page(current: str) -> str:
    """The page with its generated part renewed."""
    return current[: current.index(HEADING) + len(HEADING)] + markdown_table()


def trace_schema() -> str:
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TRACE_PAGE.write_text(trace_page(TRACE_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    TRACE_SCHEMA.write_text(trace_schema(), encoding="utf-8")
