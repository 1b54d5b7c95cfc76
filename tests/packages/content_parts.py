"""Images with a guest inside, and the corpus's steps on it: file systems made by the tools of the field."""

import gzip
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from byte_steps import Step, changes_bytes, edit, encoded
from guest_images import RED_HAT, Part, Workbench, run

# In place of keys and tokens of these lengths, so that nobody takes the corpus for a place that leaks some.
SECRET = "c2VjcmV0LW1hcmstdGhhdC1tdXN0LW5vdC1iZS1zaG93bi1hbnl3aGVyZQAxbcd9"
_MARKS = {"{64}": SECRET, "{58}": SECRET[:58].upper(), "{43}": SECRET[:43], "{40}": SECRET[:40]}
_EDITED_BYTES = 2 << 20  # where a volume's tables are
_UUID = "00000000-0000-4000-8000-00000000000{}"


@dataclass
class _Volume:
    """What a volume is to be: its kind, its files (a text is where a link leads), the steps on it once it is made."""

    kind: str
    number: int
    files: dict[str, bytes | str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def make_guest_image(steps: Sequence[Step]) -> bytes:
    """A qcow2 image by these steps. Without any its one partition holds a guest of the Red Hat family on ext4 in which
    nothing is wrong; `disk` lays it out anew."""
    layout: Step = next((step for step in steps if "disk" in step), {"disk": {"root": "ext4"}})
    volumes = {name: _Volume(kind, number) for number, (name, kind) in enumerate(layout["disk"].items(), start=1)}
    if "root" in volumes:
        volumes["root"].files = dict(RED_HAT)
    for step in steps:
        if step is not layout:
            _change(volumes[step.get("volume", "root")], step)
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(Path(folder))
        parts = [_make(bench, volume) for volume in volumes.values()]
        raw = _TABLES[layout.get("table", "mbr")](bench, parts)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, Path(folder) / "disk.qcow2")
        return (Path(folder) / "disk.qcow2").read_bytes()


def _change(volume: _Volume, step: Step) -> None:
    if "path" in step:
        content = encoded(_filled(step["text"])) if "text" in step else str(step["link"])
        assert volume.files.get(step["path"]) != content, f"nothing to change for {dict(step)}"
        volume.files[step["path"]] = content
    elif "remove" in step:
        del volume.files[step["remove"]]
    else:
        volume.steps.append(step)


def _filled(text: str) -> str:
    for mark, by in _MARKS.items():
        text = text.replace(mark, by)
    return text


def _make(bench: Workbench, volume: _Volume) -> Part:
    part = _KINDS[volume.kind](bench, volume)
    for step in volume.steps:
        if "debugfs" in step:
            run("debugfs", "-w", "-R", step["debugfs"], part.path)
        else:
            assert changes_bytes(step), f"a step that no volume knows: {dict(step)}"
            with part.path.open("r+b") as file:
                beginning = edit(file.read(_EDITED_BYTES), step, "latin-1")
                file.seek(0)
                file.write(beginning)
    return part


def _ext(bench: Workbench, volume: _Volume) -> Part:
    uuid = _UUID.format(volume.number)
    return bench.ext(volume.files, "-U", uuid, "-E", f"hash_seed={uuid}", kind=volume.kind)


def _initramfs(pack: Callable[[bytes], bytes]) -> Callable[[Workbench, _Volume], Part]:
    def make(bench: Workbench, volume: _Volume) -> Part:
        archive = pack(bench.cpio({"init": b"#!/bin/sh\n", **volume.files}))
        return bench.fat({"initrd": archive, "vmlinuz": b"MZ"}, mib=2)

    return make


_KINDS: Mapping[str, Callable[[Workbench, _Volume], Part]] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "xfs": lambda bench, volume: bench.xfs(volume.files, "-m", f"uuid={_UUID.format(volume.number)}"),
    "FAT": lambda bench, volume: bench.fat(volume.files, mib=2),
    "initramfs": _initramfs(lambda data: gzip.compress(data, mtime=0)),
    "initramfs, not packed": _initramfs(bytes),
    "zeros": lambda bench, volume: bench.raw(mib=1),
}
_TABLES: Mapping[str, Callable[[Workbench, Sequence[Part]], Path]] = {
    "mbr": Workbench.mbr,
    "gpt": Workbench.gpt,
    "none": lambda _, parts: parts[0].path,
}
