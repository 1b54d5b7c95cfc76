"""The corpus: a sound package, and from it by small steps the packages of corpus/*.toml. README.md here has the words.

A package is made in stages, and each stage goes on from what the steps before made of it: image, descriptor and ACL,
the list of files, manifest, signature and certificates, members and their headers, archive.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from byte_steps import Step, changes_bytes, edit, encoded
from cryptography import x509
from package_parts import LEAF, MIDDLE, NOW, ROOT, Entry, Form, issue, pem, sign, write_tar
from qcow2_parts import change_image

FOLDER = Path(__file__).parent
_IMAGE, _ACL = "disk.qcow2", "auth/acl.xml"
_FORMS = {"leaf": LEAF, "middle": MIDDLE, "root": ROOT}
_ISSUERS = {"leaf": "middle", "middle": "root", "root": "root"}
# POSIX.1 pax, "ustar Interchange Format"
_HEADER = {
    "name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "checksum": 148, "type": 156,
    "linkname": 157, "magic": 257, "version": 263, "uname": 265, "gname": 297, "devmajor": 329, "devminor": 337,
    "prefix": 345, "end": 500,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """fails is the one id that must fail, "" for a package that is right; besides are further ids that fail with it,
    undecided those that are neither judged nor fail, each with the reason; why says what makes a package right."""

    name: str
    layer: str = ""
    base: str = "terminating"
    fails: str = ""
    besides: Mapping[str, str] = field(default_factory=dict)
    undecided: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def identity(self) -> str:
        return f"{self.layer}, {self.fails or 'valid'}: {self.name}"

    def failing(self) -> set[str]:
        return {self.fails, *self.besides} - {""}


@cache
def load() -> tuple[Case, ...]:
    """All cases, file by file."""
    return tuple(case for path in sorted((FOLDER / "corpus").glob("*.toml")) for case in _read(path))


def _read(path: Path) -> Iterator[Case]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    whole = {"base": table.pop("base", "terminating")}
    default = {"in": table.pop("in")}
    for requirement, rows in table.items():
        for name, row in rows.items():
            found = whole | (row if isinstance(row, dict) else {"steps": row})
            steps = [default | step for step in found.pop("steps")]
            found["fails"] = "" if requirement == "valid" else requirement
            for value in found.pop("each", [None]):
                shown = name.replace("{each}", repr(value))
                yield Case(shown, path.stem, steps=tuple(_filled(steps, "{each}", value)), **found)


def _filled(value: Any, mark: str, by: Any) -> Any:
    """A step with one of a case's values in place of a mark, be it all of a text or a part of it."""
    if isinstance(value, Mapping):
        return {key: _filled(item, mark, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, mark, by) for item in value]
    return by if value == mark else value.replace(mark, str(by)) if isinstance(value, str) else value


def defects() -> tuple[Case, ...]:
    return tuple(case for case in load() if case.fails)


def variations() -> tuple[Case, ...]:
    return tuple(case for case in load() if not case.fails)


def find(identity: str) -> Case:
    return next(case for case in load() if case.identity == identity)


@cache
def base_file(name: str) -> bytes:
    return (FOLDER / "base" / name).read_bytes()


SOUND = Case("as it should be")


def build(case: Case = SOUND, image: bytes | None = None) -> bytes:
    """The bytes of a case's package, with another image than the base's where one is given. AssertionError for a step
    that changes nothing."""
    making = _Making(case.steps)
    inside = making.inside()
    if inside:
        from content_parts import make_guest_image  # its rigs are not at hand where fuzzing.py runs by itself

        image = make_guest_image(inside)
    image = making.edited("image", change_image(making.of("image", "qcow2", "entry"), image))
    files = making.files(
        {
            "app.ovf": making.descriptor(base_file(f"{case.base}.ovf"), image),
            _IMAGE: image,
            _ACL: making.edited("acl", base_file("acl.xml")),
        }
    )
    lines = "".join(f"SHA256({name})= {sha256(data).hexdigest()}\n" for name, data in files.items())
    manifest = making.edited("manifest", lines.encode("latin-1"))
    certificate = making.edited("certificate", making.certificate(manifest))
    entries = [Entry("app.mf", manifest), Entry("app.cert", certificate)]
    entries += [Entry(name, data) for name, data in files.items()]
    entries.sort(key=lambda entry: entry.name != "app.ovf")
    archive = making.edited("archive", write_tar(making.members(entries)))
    making.finish()
    return archive


def descriptor_text(case: Case) -> str:
    """A case's descriptor alone, for tests of its reader."""
    making = _Making(case.steps)
    image = making.edited("image", change_image(making.of("image", "qcow2", "entry"), None))
    return making.descriptor(base_file(f"{case.base}.ovf"), image).decode()


def edited(*edits: tuple[str, str], base: str = "terminating") -> Case:
    """A package whose descriptor has other texts; each edit has to find its place."""
    return Case("edited", base=base, steps=tuple({"in": "descriptor", "replace": old, "by": new} for old, new in edits))


class _Making:
    """Hands each stage its steps, in their order, and knows which are left over."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._left = list(steps)

    def of(self, *kinds: str) -> list[Step]:
        """The steps that have one of these keys."""
        found = [step for step in self._left if any(kind in step for kind in kinds)]
        self._left = [step for step in self._left if step not in found]
        return found

    def inside(self) -> list[Step]:
        """The steps on what is inside the image; none where it is an image without a guest."""
        found = [step for step in self._left if step["in"] == "content"]
        self._left = [step for step in self._left if step["in"] != "content"]
        return found

    def edited(self, part: str, data: bytes, marks: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """A part after the steps on its bytes; marks in their texts are filled in."""
        found = [step for step in self._left if step["in"] == part and changes_bytes(step)]
        self._left = [step for step in self._left if step not in found]
        for mark, by in marks.items():
            found = _filled(found, mark, by)
        for step in found:
            data = edit(data, step, "utf-8" if part in ("descriptor", "acl") else "latin-1")
        return data

    def finish(self) -> None:
        assert not self._left, f"steps that no stage knows: {self._left}"

    def descriptor(self, text: bytes, image: bytes) -> bytes:
        marks = {"{size}": str(len(image)), "{capacity}": str(int.from_bytes(image[24:32]))}
        for mark, by in marks.items():
            text = text.replace(mark.encode(), by.encode())
        return self.edited("descriptor", text, marks)

    def files(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """What is listed, signed and packed."""
        for step in self.of("file", "leave_out", "call"):
            if "file" in step:
                files[step["file"]] = encoded(step["text"])
            elif "call" in step:
                files = {step["to"] if name == step["call"] else name: data for name, data in files.items()}
            else:
                del files[step["leave_out"]]
        return files

    def certificate(self, manifest: bytes) -> bytes:
        """The .cert: the signature line and the chain."""
        forms, issuers, chain, signer = dict(_FORMS), dict(_ISSUERS), ["leaf", "middle"], ""
        for step in self.of("form", "chain", "signer"):
            chain, signer = step.get("chain", chain), step.get("signer", signer)
            if "form" in step:
                name = step["form"]
                issuers[name] = step.get("issuer", issuers.get(name, "root"))
                forms[name] = _form(forms.get(name, Form(name)), step)
        key = forms[signer or chain[0]].key
        line = f"SHA256(app.mf)= {sign(key, manifest).hex()}\n".encode()
        issued = [issue(forms[one], None if issuers[one] == one else forms[issuers[one]]) for one in chain]
        return line + b"".join(map(pem, issued))

    def members(self, entries: list[Entry]) -> list[Entry]:
        for step in self.of("add", "drop", "move", "rename", "header"):
            entries = _change_members(entries, step)
        return [replace(entry, data=self.edited(entry.name, entry.data)) for entry in entries]


def _form(form: Form, step: Step) -> Form:
    """A certificate's form with what a step says otherwise; an empty text takes an extension out."""
    changes: dict[str, Any] = {}
    for key, value in step.items():
        if key in ("begin_days", "end_days"):
            changes[key.removesuffix("_days")] = NOW + timedelta(days=value)
        elif key == "purposes":
            changes[key] = tuple(map(x509.ObjectIdentifier, value)) or None
        elif key == "critical":
            changes["further"] = (x509.UnrecognizedExtension(x509.ObjectIdentifier(value), b"\5\0"),)
        elif key == "dns_constraint":
            changes["further"] = (x509.NameConstraints([x509.DNSName(value)], None),)
        elif key == "modulus_bits":
            changes["modulus"] = (1 << value - 1) + 9
        elif key == "ca":
            changes |= {"ca": value if value != "" else None} | ({} if value else {"path_length": None})
        elif key == "path_length":
            changes[key] = value if value != "" else None
        elif key == "usage":
            changes[key] = value or None
        elif key not in ("form", "issuer", "in"):
            changes[key] = value
    return replace(form, **changes)


def _change_members(entries: list[Entry], step: Step) -> list[Entry]:
    """One step on the list of members or on their headers."""
    if "add" in step:
        entry = Entry(step["add"], encoded(step.get("text", "")), step.get("type", "0").encode("latin-1"))
        at = step.get("to", len(entries))
        return [*entries[:at], *[entry] * step.get("times", 1), *entries[at:]]
    wanted = next(step[key] for key in ("drop", "move", "rename", "header") if key in step)
    found = [entry for entry in entries if wanted in (entry.name, "*")]
    assert found, f"no member {wanted}"
    if "drop" in step:
        return [entry for entry in entries if entry not in found]
    if "move" in step:
        rest = [entry for entry in entries if entry not in found]
        return [*rest[: step["to"]], *found, *rest[step["to"] :]]
    if "rename" in step:
        return [replace(entry, name=step["to"]) if entry in found else entry for entry in entries]
    place = _HEADER[step["field"]] + step.get("at", 0)
    change = (place, encoded(step["text"]))
    sealed = step.get("sealed", True)
    return [
        replace(entry, fields=(*entry.fields, change), sealed=sealed) if entry in found else entry for entry in entries
    ]
