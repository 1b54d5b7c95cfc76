"""What is generated from the code's tables is up to date: python tests/docs/generate.py renews it."""

from generate import CATALOGUE_PAGE, TRACE_PAGE, TRACE_SCHEMA, catalogue_page, trace_page, trace_schema


def test_trace_page_shows_the_table_of_kinds() -> None:
    text = TRACE_PAGE.read_text(encoding="utf-8")
    assert text == trace_page(text)


def test_trace_schema_is_that_of_the_table() -> None:
    assert TRACE_SCHEMA.read_text(encoding="utf-8") == trace_schema()


def test_catalogue_page_shows_the_catalogue() -> None:
    assert CATALOGUE_PAGE.read_text(encoding="utf-8") == catalogue_page()
