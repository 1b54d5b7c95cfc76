"""Files that are written whole or not at all. Until it is put in its place a file has no name, so that nothing is left
of it whatever ends this process."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import UsageError

# What file systems answer that have no files without a name: NFS, FAT, shared folders
_NAMELESS_REFUSED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written, and read, at path; it gets its name by `put`, or never."""

    path: Path
    output: Path

    def put(self) -> None:
        """Put it in its place; what was there before is replaced in one step."""
        name = _partial(self.output)
        if self.path != name:
            # as open(2) has it for O_TMPFILE, by linkat(2): without a descriptor of a folder Python calls link(2)
            os.link(self.path, name, src_dir_fd=0, follow_symlinks=True)
        name.replace(self.output)


@contextmanager
def new_file(output: Path, inputs: Sequence[Path] = (), nameless: bool = True) -> Iterator[NewFile]:
    """A file that is to become output, which is made of inputs; nameless as far as the file system has such.

    Raises UsageError for a place that cannot be written, that is no place for a file, or that is an input.
    """
    try:
        _require_place(output, inputs)
        descriptor, path = _open(output, nameless)
        try:
            yield NewFile(path, output)
        finally:
            os.close(descriptor)
            _partial(output).unlink(missing_ok=True)
    except OSError as error:
        named = str(error.filename2 or error.filename or output)  # of a copy the target is the second
        if named in (str(_partial(output)), str(output.parent)) or named.startswith("/proc/self/fd/"):
            named = str(output)
        mend = "; give a place that can be written" if named == str(output) else ""
        raise UsageError(f"{named}: {error.strerror}{mend}") from error


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.{os.getpid()}")


def _require_place(output: Path, inputs: Sequence[Path]) -> None:
    if not output.name or output.is_dir():
        raise UsageError(f"{output} is a folder; give the name of a file to write")
    if not output.exists():
        return
    if not output.is_file():  # it would be a file afterwards
        raise UsageError(f"{output} is no regular file; give the name of a file to write")
    for given in inputs:
        if given.exists() and output.samefile(given):
            raise UsageError(f"{output} is what it would be made of; give the name of another file to write")


def _open(output: Path, nameless: bool) -> tuple[int, Path]:
    if nameless:
        try:
            descriptor = os.open(output.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            return descriptor, Path(f"/proc/self/fd/{descriptor}")
        except OSError as error:
            if error.errno not in _NAMELESS_REFUSED or not output.parent.is_dir():
                raise
    return os.open(_partial(output), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), _partial(output)
