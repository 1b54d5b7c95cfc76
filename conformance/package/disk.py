"""A descriptor's files and disks as values."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reference:
    """A File of References. size is in bytes, None where it is not given; compression and chunk_size "" likewise. where
    it stands is for findings."""

    id: str
    href: str
    size: int | None = None
    compression: str = ""
    chunk_size: str = ""
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Disk:
    """A Disk of a DiskSection. file_ref is "" for a blank disk; capacity_bytes None where capacity is no number; where
    as above."""

    id: str
    file_ref: str
    capacity_bytes: int | None
    format: str
    parent_ref: str = ""
    where: str = field(default="", compare=False)
