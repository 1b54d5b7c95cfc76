"""The corpus's steps on bytes: what may be done to any part of a package, be it text or not."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Step = Mapping[str, Any]


def encoded(text: str, encoding: str = "latin-1") -> bytes:
    """The bytes that a text of the corpus stands for: in parts that are no XML a character is a byte."""
    return text.encode(encoding)


def changes_bytes(step: Step) -> bool:
    """Whether a step is one of those here."""
    return any(key in step for key in _CHANGES)


def edit(data: bytes, step: Step, encoding: str) -> bytes:
    """One step; AssertionError where it changes nothing."""
    change = next(_CHANGES[key] for key in _CHANGES if key in step)
    text = {key: value.encode(encoding) if isinstance(value, str) else value for key, value in step.items()}
    changed = change(data, text)
    assert changed != data, f"nothing to change for {dict(step)}"
    return changed


def _repeated(text: bytes, step: Step) -> bytes:
    """A text as often as the step says, {n} in it counting."""
    return b"".join(text.replace(b"{n}", b"%d" % number) for number in range(step.get("repeat", 1)))


def _replace(data: bytes, step: Step) -> bytes:
    return data.replace(step["replace"], _repeated(step["by"], step), step.get("times", -1))


def _insert(data: bytes, step: Step) -> bytes:
    anchor: bytes = step["before"] if "before" in step else step["after"]
    assert data.count(anchor) == 1, f"{data.count(anchor)} times there: {anchor!r}"
    at = data.index(anchor) + (0 if "before" in step else len(anchor))
    return data[:at] + _repeated(step["insert"], step) + data[at:]


def _pattern(data: bytes, step: Step) -> bytes:
    return re.sub(step["pattern"], step["by"], data, count=step.get("times", 0), flags=re.DOTALL | re.MULTILINE)


def _put(data: bytes, step: Step) -> bytes:
    at, new = step["at"] % len(data), bytes(step["put"])
    return data[:at] + new + data[at + len(new) :]


def _append(data: bytes, step: Step) -> bytes:
    return data + _repeated(step["append"], step)


def _prepend(data: bytes, step: Step) -> bytes:
    return bytes(step["prepend"]) + data


def _keep(data: bytes, step: Step) -> bytes:
    """The first so many bytes; a negative number leaves so many out at the end."""
    return data[: step["keep"]]


def _lines(data: bytes, step: Step) -> bytes:
    """The lines of these numbers, from 1."""
    lines = data.splitlines(True)
    return b"".join(lines[number - 1] for number in step["lines"])


def _encode(data: bytes, step: Step) -> bytes:
    encoding: bytes = step["encode"]
    return data.decode().encode(encoding.decode())


def _pad(data: bytes, step: Step) -> bytes:
    """Zeros, or other bytes, up to whole units of so many bytes."""
    unit: int = step["pad"]
    return data + bytes(step.get("with", b"\0")) * (-len(data) % unit)


def _capitals(data: bytes, step: Step) -> bytes:
    """Capital letters in what a pattern matches."""
    return re.sub(step["capitals"], lambda found: found[0].upper(), data)


def _columns(data: bytes, step: Step) -> bytes:
    """PEM blocks with lines of another width."""

    def wrap(found: re.Match[bytes]) -> bytes:
        body, width = found[2].replace(b"\n", b""), step["columns"]
        return found[1] + b"".join(body[at : at + width] + b"\n" for at in range(0, len(body), width)) + found[3]

    return re.sub(rb"(-----BEGIN [A-Z]+-----\n)(.*?)(-----END)", wrap, data, flags=re.DOTALL)


def _loosen(data: bytes, step: Step) -> bytes:
    """Set a bit of a block's last base64 digit that no byte of it takes (RFC 4648 3.5)."""
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = data.index(b"=\n-----END")
    at -= data[at - 1 : at] == b"="
    return data[: at - 1] + digits[digits.index(data[at - 1]) + 1 :][:1] + data[at:]


_CHANGES: Mapping[str, Callable[[bytes, Step], bytes]] = {
    "replace": _replace,
    "insert": _insert,
    "pattern": _pattern,
    "put": _put,
    "append": _append,
    "prepend": _prepend,
    "keep": _keep,
    "lines": _lines,
    "encode": _encode,
    "pad": _pad,
    "columns": _columns,
    "loosen": _loosen,
    "capitals": _capitals,
}
