"""TOML files of users, read strictly: all that is not understood is told in one go, each with its line, what was
expected there and what was probably meant."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from conformance.errors import UsageError
from harness.packaging.tomlplaces import Keys, locate

_CHARACTERS_MAX = 65536
_SEEN_MAX = 80
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TABLE = re.compile(r"\((.*?),?\)")  # as tomllib shows keys: ('app',)
_HINT = "a text stands in quotes, and so does a key with other characters than letters, digits, - and _"


@dataclass(frozen=True, slots=True)
class _Mistake:
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A TOML file as a whole. mistakes grows while its tables are read."""

    path: Path
    values: Mapping[str, Any]
    places: Mapping[Keys, int]
    mistakes: list[_Mistake] = field(default_factory=list)

    def line(self, keys: Keys) -> int:
        """The 1-based line of what these keys lead to, or of the table that it is missing from; else 1."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, 1)

    def place(self, keys: Keys) -> str:
        """Where that is, for people and editors: `app.toml:14, [endpoint."hello.example"] services[2]`."""
        if keys[:1] not in self.places:
            return f"{self.path} (there is no {_header(keys[:1])})"
        return f"{self.path}:{self.line(keys)}, {_show(keys, self.values)}"

    def value(self, keys: Keys) -> Any:
        """What these keys lead to; None where there is nothing."""
        found: Any = self.values
        for key in keys:
            if isinstance(key, int):
                found = found[key - 1] if isinstance(found, list) and 0 < key <= len(found) else None
            else:
                found = found.get(key) if isinstance(found, dict) else None
        return found

    def settle(self) -> None:
        """Raises UsageError with all mistakes in the order of their lines, if there are any."""
        if self.mistakes:
            ordered = sorted(self.mistakes, key=lambda mistake: mistake.line)
            raise UsageError("\n      ".join(dict.fromkeys(mistake.text for mistake in ordered)))


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a TOML file. keys lead to it from the file's top; values are its own, as tomllib reads them.

    What is not as expected is a mistake of its source: it is noted, something harmless stands in for it, and whoever
    reads goes on; `Source.settle` ends it. spelt has the file's spelling of keys that were misspelt.
    """

    source: Source
    keys: Keys
    values: Mapping[str, Any]
    spelt: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    @property
    def name(self) -> str:
        """The last of the keys."""
        return str(self.keys[-1])

    def refuse(self, key: str, expected: str, *inner: int) -> None:
        """Note what was expected where this key stands, or at one element of its list, and what was seen."""
        keys = (*self.keys, self.spelt.get(key, key), *inner)
        found = self.source.value(keys)
        seen = "nothing" if found is None else shown(found)
        self._note(keys, f": expected {expected}, saw {seen}")

    def refuse_key(self, key: str, expected: str) -> None:
        """Note what was expected in this key's place, whatever its value."""
        self._note((*self.keys, key), f": expected {expected}")

    def only(self, *known: str) -> "Table":
        """This table without any other keys than these. The others are mistakes; one that was probably meant as one of
        these, and that is not there, stands for it, so that its value is looked at all the same."""
        values = {key: value for key, value in self.values.items() if key in known}
        spelt: dict[str, str] = {}
        for key in self.values:
            if key in known:
                continue
            near = difflib.get_close_matches(key.lower(), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            self._note((*self.keys, key), f" is not known; {hint}")
            if near and near[0] not in values:
                values[near[0]], spelt[near[0]] = self.values[key], key
        return Table(self.source, self.keys, values, spelt)

    def string(self, key: str, expected: str, default: str | None = None) -> str:
        """A text of one line, and not blank but where that is the default; default where the key is missing."""
        value = self.values.get(key, default)
        if isinstance(value, str) and value.isprintable() and (value.strip() or value == default):
            return value
        self.refuse(key, expected)
        return ""

    def choice(self, key: str, kind: Any) -> Any:
        """One of the words of a Literal."""
        words = get_args(kind)
        value = self.values.get(key)
        if value in words:
            return value
        self.refuse(key, " or ".join(f'"{word}"' for word in words))
        return words[0]

    def whole(self, key: str, expected: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number of that range; default where the key is missing."""
        value = self.values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.refuse(key, expected)
        return least

    def words(self, key: str, expected: str, pattern: str = ".+") -> tuple[str, ...]:
        """A list of texts of one line that match pattern; () where the key is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            self.refuse(key, expected)
            return ()
        right = [isinstance(word, str) and word.isprintable() and re.fullmatch(pattern, word) for word in value]
        for number, fits in enumerate(right, 1):
            if not fits:
                self.refuse(key, expected, number)
        return tuple(word for word, fits in zip(value, right, strict=True) if fits)

    def table(self, key: str, expected: str = "") -> "Table":
        """The table of that name; an empty one where it is missing."""
        value = self.values.get(key, {})
        keys = (*self.keys, self.spelt.get(key, key))
        if not isinstance(value, dict):
            self.refuse(key, expected or f"a table {_header(keys)}")
            value = {}
        for name in value:
            if not name.isprintable():
                self._note((*keys, name), ": expected a key of printable characters")
        return Table(self.source, keys, {name: value[name] for name in value if name.isprintable()})

    def element(self, key: str, number: int) -> "Table":
        """An element, itself a table, of the list of that name."""
        keys = (*self.keys, self.spelt.get(key, key), number)
        return Table(self.source, keys, self.values[key][number - 1])

    def tables(self, key: str, example: str, *known: str) -> Iterator["Table"]:
        """The tables in the table of that name, as in example, which has nothing else; their names are free, their keys
        these only."""
        expected = f"a table with a name, as in {example}"
        named = self.table(key, expected)
        for name, value in named.values.items():
            table = named.table(name, expected)
            dotted = _dotted(name, value, known)
            if not name:
                self._note(table.keys, f": expected {expected}, and no empty one")
            elif dotted:
                self._note(table.keys, f": expected a name with dots in quotes: {_header((*named.keys, dotted))}")
            elif isinstance(value, dict):
                yield table.only(*known)

    def _note(self, keys: Keys, what: str) -> None:
        source = self.source
        source.mistakes.append(_Mistake(source.line(keys), plain(f"{source.place(keys)}{what}")))


def _dotted(name: str, value: Any, known: tuple[str, ...]) -> str:
    """The name that was taken apart at its dots, because it has no quotes; "" for one that was not."""
    while (
        isinstance(value, dict)
        and value
        and not set(value) & set(known)
        and all(isinstance(inner, dict) for inner in value.values())
    ):
        inner, value = next(iter(value.items()))
        name = f"{name}.{inner}"
        if set(value) & set(known) or not value:
            return name
    return ""


def _show(keys: Keys, values: Any) -> str:
    """Keys as a file shows them: the header of the table, then what stands in it."""
    depth = 0
    while depth < len(keys) and isinstance(values, Mapping) and isinstance(values.get(keys[depth]), Mapping):
        values = values[keys[depth]]
        depth += 1
    if depth == len(keys):
        return _header(keys)
    inside = "".join(f"[{key}]" if isinstance(key, int) else f".{_quote(key)}" for key in keys[depth:])[1:]
    return f"{_header(keys[:depth])} {inside}" if depth else inside


def _header(keys: Keys) -> str:
    return f"[{'.'.join(_quote(str(key)) for key in keys)}]"


def _quote(key: str) -> str:
    return key if _BARE.fullmatch(key) else shown(key)


def shown(value: Any, most: int = _SEEN_MAX) -> str:
    """A value as TOML would have it, cut where it is longer than most characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]}..."


def plain(text: str) -> str:
    """A text whose control characters no terminal obeys."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


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
        values = tomllib.loads(text)
        return Table(Source(path, values, locate(text)), (), values)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); {purpose}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{_point_at(path, text, str(error))}\n  {_HINT}; {purpose}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}; {purpose}") from error


def _point_at(path: Path, text: str, message: str) -> str:
    """What tomllib has against a text, with the line that it stopped at."""
    found = _PLACE.search(message)
    if found is None:
        return f"{path} is no TOML: {message}"
    line, column = int(found[1]), int(found[2])
    written = text.split("\n")[line - 1]
    begin = max(0, column - 1 - _SEEN_MAX)
    excerpt = plain(written[begin : column - 1 + _SEEN_MAX].replace("\t", " "))
    told = _TABLE.sub(lambda keys: f"[{keys[1]}]".replace("', '", ".").replace("'", ""), message[: found.start()])
    return f"{path}:{line} is no TOML: {told}\n  {excerpt}\n  {' ' * (column - 1 - begin)}^"
