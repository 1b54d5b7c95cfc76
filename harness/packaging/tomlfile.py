"""TOML files of users, read strictly: what is not known is refused, with its line and what was probably meant."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from conformance.errors import UsageError

_CHARACTERS_MAX = 65536
_MARK = object()


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a TOML file. keys lead to it from the file's top; values are its own, as tomllib reads them."""

    path: Path
    text: str
    keys: tuple[str, ...]
    values: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def refusal(self, key: str, expected: str) -> UsageError:
        """The error that says where this key stands, what was expected and what was seen."""
        seen = repr(self.values[key])[:80] if key in self.values else "nothing"
        return UsageError(f"{self._place(key)}: expected {expected}, saw {seen}")

    def only(self, *known: str) -> "Table":
        """This table, if it has no other keys than these. Raises UsageError with the line and the nearest of them."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
                raise UsageError(f"{self._place(key)} is not known; {hint}")
        return self

    def string(self, key: str, expected: str, default: str | None = None) -> str:
        """A text of one line; default where the key is missing, unless that is None."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or not value.isprintable():
            raise self.refusal(key, expected)
        return value

    def choice(self, key: str, kind: Any, default: str | None = None) -> Any:
        """One of the words of a Literal."""
        words = get_args(kind)
        value = self.values.get(key, default)
        if value not in words:
            raise self.refusal(key, " or ".join(f'"{word}"' for word in words))
        return value

    def whole(self, key: str, expected: str, default: int | None = None) -> int:
        """A whole number."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refusal(key, expected)
        return value

    def words(self, key: str, expected: str) -> tuple[str, ...]:
        """A list of texts of one line, none of them empty; () where the key is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(word, str) and word and word.isprintable() for word in value
        ):
            raise self.refusal(key, expected)
        return tuple(value)

    def table(self, key: str) -> "Table":
        """The table of that name; an empty one where it is missing."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.refusal(key, f"a table [{'.'.join((*self.keys, key))}]")
        return Table(self.path, self.text, (*self.keys, key), value)

    def tables(self) -> Iterator["Table"]:
        """The tables in this one, of which it has nothing else; the last of their keys is their name."""
        for key in self.values:
            yield self.table(key)

    def line(self, *keys: str) -> int:
        """The 1-based line on which the statement begins that brings in these keys of this table; 1 for none.

        The shortest beginning of the file that is TOML and has the keys ends with that statement.
        """
        lines = self.text.splitlines(keepends=True)
        begin = 1
        for number in range(1, len(lines) + 1):
            try:
                found: Any = tomllib.loads("".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a statement
            for key in (*self.keys, *keys):
                found = found.get(key, _MARK) if isinstance(found, dict) else _MARK
            if found is not _MARK:
                return begin
            begin = number + 1
        return 1

    def _place(self, key: str) -> str:
        keys = (key,) if key in self.values else ()
        return f"{self.path}, line {self.line(*keys)}: {'.'.join((*self.keys, key))}"


def read_table(path: Path, purpose: str) -> Table:
    """The file's top table. Raises UsageError for a file that is none, or no TOML; purpose says what it is for."""
    try:
        if not path.is_file():  # opening a FIFO waits
            path.stat()
            raise UsageError(f"{path} is no file; {purpose}")
        with path.open(encoding="utf-8") as file:
            text = file.read(_CHARACTERS_MAX + 1)
        if len(text) > _CHARACTERS_MAX:
            raise UsageError(f"{path} is longer than {_CHARACTERS_MAX} characters; {purpose}")
        return Table(path, text, (), tomllib.loads(text))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); {purpose}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}; {purpose}") from error
