"""Where keys and elements stand in TOML: hand-made files, and generated ones that know what they wrote where."""

import json
import tomllib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.packaging.tomlplaces import Keys, locate

FILE = (
    r'''# [no] = "key"
[app]
id = "x" # [not] = "one"
a."b.c" . d = 5
when = 1979-05-27 07:32:00
text = """
 [foo]
 a = 1 \"""
 """"
'q' = '''
    "'''\n[x]\n\\'''"
    r"""
"" = ''
empty = [ ] # ]
[ e . "f[1]" ]
services = [ # c ]
  "ud#p/7", { on = "x=", y = [1,
   2] },

  [ ]
 , 5]
[[list]]
k = [[1, 2], [3]]
[[list]]
k = {}
"""
)
PLACES: Mapping[Keys, int] = {
    ("app",): 2, ("app", "id"): 3, ("app", "a"): 4, ("app", "a", "b.c"): 4, ("app", "a", "b.c", "d"): 4,
    ("app", "when"): 5, ("app", "text"): 6, ("app", "q"): 10, ("app", ""): 13, ("app", "empty"): 14,
    ("e",): 15, ("e", "f[1]"): 15, ("e", "f[1]", "services"): 16, ("e", "f[1]", "services", 1): 17,
    ("e", "f[1]", "services", 2): 17, ("e", "f[1]", "services", 2, "on"): 17, ("e", "f[1]", "services", 2, "y"): 17,
    ("e", "f[1]", "services", 2, "y", 1): 17, ("e", "f[1]", "services", 2, "y", 2): 18,
    ("e", "f[1]", "services", 3): 20, ("e", "f[1]", "services", 4): 21,
    ("list",): 22, ("list", "k"): 23, ("list", "k", 1): 23, ("list", "k", 1, 1): 23, ("list", "k", 1, 2): 23,
    ("list", "k", 2): 23, ("list", "k", 2, 1): 23,
}  # fmt: skip


def test_each_key_and_element_has_the_line_where_it_is_first_named() -> None:
    tomllib.loads(FILE)
    assert locate(FILE) == PLACES


@pytest.mark.parametrize("text", ["", "# nothing", "a=1", "[a]", "a={b={c=[{d=1}]}}", "\n\n a = '' "])
def test_small_files(text: str) -> None:
    assert set(locate(text).values()) <= {1, 3}
    assert {keys[0] for keys in locate(text)} == set(tomllib.loads(text))


_NAMES = st.text("ab.# [\"'=", max_size=4)
_VALUES = st.one_of(st.integers(0, 9), st.text("ab#[]{}=,\"'\n\\", max_size=6), st.booleans())
_LISTS = st.lists(st.one_of(_VALUES, st.lists(_VALUES, max_size=2)), max_size=4)
_GAPS = st.sampled_from(["", "\n", "# [x]\n", " \t\n"])


@settings(derandomize=True, max_examples=150)
@given(st.dictionaries(_NAMES, st.dictionaries(_NAMES, st.one_of(_VALUES, _LISTS), max_size=4), max_size=3), st.data())
def test_what_was_written_is_found_where_it_was_written(
    tables: dict[str, dict[str, object]], data: st.DataObject
) -> None:
    text, expected = "", dict[Keys, int]()

    def write(more: str, *keys: str | int) -> None:
        nonlocal text
        text += data.draw(_GAPS)
        expected[keys] = text.count("\n") + 1
        text += more

    for name, table in tables.items():
        write(f"[{json.dumps(name)}]\n", name)
        for key, value in table.items():
            write(f"{json.dumps(key)} = ", name, key)
            if not isinstance(value, list):
                text += f"{json.dumps(value)}\n"
                continue
            text += "["
            for number, element in enumerate(value, 1):
                write(f"{json.dumps(element)},", name, key, number)
            text += "]\n"
    tomllib.loads(text)
    found = locate(text)
    assert {keys: line for keys, line in found.items() if keys in expected} == expected
