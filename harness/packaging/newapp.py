"""`racs new`: a project folder with an app that certifies as it is, made from the examples."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conformance.errors import UsageError
from harness.options import REPOSITORY

AppType = Literal["terminating", "transparent"]
ID = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)  # contract 1: racs:Application's id
_EXAMPLES = REPOSITORY / "examples"
_TEMPLATES = _EXAMPLES / "new"
# What every guest stands on is copied as it is, so that it has one source; of what an app is for, each type its part.
_GUEST = (
    "guest/init", "guest/lease", "guest/bus.py", "guest/environment.py", "clients/heartbeat.py", "clients/ntp.py",
)  # fmt: skip
_PART = {"terminating": "goon/echo.py", "transparent": "lens/wire.py"}


@dataclass(frozen=True, slots=True)
class NewApp:
    """The app to begin: its id, its type, and the folder to make."""

    id: str
    type: AppType
    folder: Path

    @property
    def name(self) -> str:
        """The id as a name for people: "my-app" is "My App"."""
        return " ".join(word.capitalize() for word in self.id.split("-") if word)


def make_app(app: NewApp) -> int:
    """Make the project folder; prints what to do next. All of it is made or none: raises UsageError for an id that is
    none, and for a folder that cannot be made or has something in it."""
    if not ID.fullmatch(app.id):
        raise UsageError(
            f"{app.id!r} cannot be an app's id: 1 to 32 small letters, digits and hyphens, a letter first, as in my-app"
        )
    folder = app.folder.absolute()  # "." has no name
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"{app.folder} is there and not empty: give another name, or --folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fill(partial, app)
        if folder.is_dir():  # whoever stands in it stays in it
            for made in partial.iterdir():
                made.replace(folder / made.name)
        else:
            partial.replace(folder)
    except OSError as error:
        place = error.filename if Path(error.filename or folder) in folder.parents else app.folder
        raise UsageError(f"{place}: {error.strerror}; give a folder that can be made with --folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{app.folder}: a {app.type} app; its README.md has the three commands from here to a certification")
    return 0


def _fill(folder: Path, app: NewApp) -> None:
    (folder / "guest").mkdir(parents=True)
    for name in (*_GUEST, _PART[app.type]):
        source = _EXAMPLES / name
        shutil.copy(source, folder / "guest" / source.name)
    template = _TEMPLATES / app.type
    templates = {"README.md": _TEMPLATES / "README.md", ".gitignore": _TEMPLATES / "gitignore"}
    templates |= {name: template / name for name in ("app.toml", "app.py")}
    for name, source in templates.items():
        text = source.read_text(encoding="utf-8").replace("@ID@", app.id).replace("@NAME@", app.name)
        (folder / name).write_text(text, encoding="utf-8")
