"""Where keys and elements of lists stand in a TOML text: tomllib tells their values only."""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

Keys = tuple[str | int, ...]  # keys from the file's top; a number is an element of a list, the first one 1

# What a text that tomllib has taken is made of. Blanks and comments are passed over: they begin no other.
_TOKEN = re.compile(
    r"""(?P<passed>[ \t\r]+|\#[^\n]*)
    | \"{3}(?:\\.|[^\\])*?\"{3,5}(?!\") | '{3}.*?'{3,5}(?!') | "(?:\\.|[^"\\\n])*" | '[^'\n]*'
    | [\[\]{},=\n] | [^\s\[\]{},=\#"']+""",
    re.VERBOSE | re.DOTALL,
)
_MARKS = frozenset("[]{},=\n")


def locate(text: str) -> Mapping[Keys, int]:
    """The 1-based line on which each key, each table and each element of a list is first named; text is TOML."""
    return _Scan(text).run()


class _Scan:
    """One pass over the tokens of a text that is known to be TOML, so that nothing unexpected can come."""

    def __init__(self, text: str) -> None:
        self._text = text
        found = [token for token in _TOKEN.finditer(text) if token["passed"] is None]
        self._tokens = [token[0] for token in found]
        self._begins = [token.start() for token in found]
        self._line_ends = [at for at, character in enumerate(text) if character == "\n"]
        self._at = 0
        self._places: dict[Keys, int] = {}

    def run(self) -> Mapping[Keys, int]:
        table: Keys = ()
        while self._at < len(self._tokens):
            if self._passes("\n"):
                continue
            if self._passes("["):
                self._passes("[")
                table = self._keys((), "]")
                self._passes("]")
            else:
                self._pair(table)
        return self._places

    def _passes(self, token: str) -> bool:
        """Whether this token is next; then it is passed."""
        found = self._at < len(self._tokens) and self._tokens[self._at] == token
        self._at += found
        return found

    def _keys(self, table: Keys, end: str) -> Keys:
        """The keys up to the token end, below table; every one of them is noted."""
        first = self._begins[self._at]
        line = self._line(first)
        while self._tokens[self._at] != end:
            self._at += 1
        found: Any = tomllib.loads(f"{self._text[first : self._begins[self._at]]} = 0")
        self._at += 1
        while isinstance(found, dict):
            ((key, found),) = found.items()
            table = (*table, key)
            self._places.setdefault(table, line)
        return table

    def _pair(self, table: Keys) -> None:
        self._value(self._keys(table, "="))

    def _value(self, keys: Keys) -> None:
        if self._passes("["):
            number = 0
            while not self._passes("]"):
                if not self._passes(",") and not self._passes("\n"):
                    number += 1
                    self._note((*keys, number))
                    self._value((*keys, number))
        elif self._passes("{"):
            while not self._passes("}"):
                if not self._passes(",") and not self._passes("\n"):
                    self._pair(keys)
        else:
            while self._at < len(self._tokens) and self._tokens[self._at] not in _MARKS:
                self._at += 1  # a date and a time are two tokens

    def _note(self, keys: Keys) -> None:
        self._places.setdefault(keys, self._line(self._begins[self._at]))

    def _line(self, offset: int) -> int:
        return bisect_left(self._line_ends, offset) + 1
