"""The look into a package's image: read-only, without root, without booting, without unpacking."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conformance.inspection import Inspection
from conformance.profile import Profile

if TYPE_CHECKING:
    from conformance.package import Package

CPU_S = 120
DEADLINE_S = 2.0 * CPU_S  # a starved host takes longer than the processor time
_ANSWER_BYTES_MAX = 16 << 20
_WORDS_MAX = 200


def look_inside(package: "Package", profile: Profile, program: str = sys.executable) -> "Package":
    """The package with its inspection; as it is where its image's header or tables are not sound (PKG-011).

    A process of its own reads, because what it reads was made by others and C libraries read it. Where that process
    dies, hangs or reaches a limit, nobody can tell whose fault it is: the inspection then has a failure.
    program is the Python that it runs in.
    """
    disk = package.disk
    if package.image is None or disk is None or disk.header is None or not disk.sound:
        return package
    begin = time.monotonic()
    request = {
        "name": package.image.name,
        "offset": package.image.offset,
        "size": package.image.size,
        "passwords": [password for _, password in profile["forwarding.passwords"]],
    }
    with package.path.open("rb") as file:
        found = _ask(program, file.fileno(), request)
    return replace(package, inspection=replace(found, seconds=round(time.monotonic() - begin, 3)))


def _ask(program: str, descriptor: int, request: Mapping[str, Any]) -> Inspection:
    command = [program, "-m", "harness.inspection.process", str(descriptor)]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=(descriptor,))
    except OSError as error:
        return Inspection(failure=f"the look into the image could not begin: {error.strerror}")
    with process:
        try:
            answer, complaint = process.communicate(json.dumps(request).encode(), DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return Inspection(failure=f"the look into the image took longer than {DEADLINE_S:g} s")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        return Inspection(failure=_why(process.returncode, complaint))
    try:
        if len(answer) > _ANSWER_BYTES_MAX:
            raise ValueError(f"{len(answer)} bytes")
        return Inspection.from_json(json.loads(answer))
    except ValueError as error:
        return Inspection(failure=f"what the look into the image brought is no inspection: {str(error)[:_WORDS_MAX]}")


def _why(status: int, complaint: bytes) -> str:
    if status == -24:  # SIGXCPU
        return f"the look into the image took more than {CPU_S} s of processor time"
    if status < 0:
        return f"the look into the image was ended by signal {-status}"
    # Where it ended and by which exception, but not with which words: they may be the image's.
    text = complaint.decode("utf-8", "replace")
    places = re.findall(r'File ".*?([^/"]+)", line (\d+)', text)[-1:]
    last = re.match(r"[\w.]+", text.strip().rpartition("\n")[2])
    at = "".join(f" at {name}:{line}" for name, line in places)
    return f"the look into the image came to no end: {last[0] if last else f'exit status {status}'}{at}"
