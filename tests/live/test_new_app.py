"""What `racs new` makes certifies as it is: its README's commands, typed in their order in the new folder."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from known_bad import REPOSITORY, SHORT, certify, command

pytestmark = [pytest.mark.live, pytest.mark.nightly]  # an image to build, and a whole run

RACS = REPOSITORY / "racs"


@pytest.mark.parametrize("kind", ["terminating", "transparent"])
def test_a_new_app_certifies_as_it_is(kind: str, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "configuration")}

    def run(*words: str, folder: Path) -> None:
        done = subprocess.run([RACS, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run("new", "my-app", "--type", kind, folder=tmp_path)
    app = tmp_path / "my-app"
    typed = [
        shlex.split(line) for line in re.findall(r"^    racs (.*)$", (app / "README.md").read_text(), re.MULTILINE)
    ]
    assert typed[-1] == ["certify", "my-app.ova"]
    for words in typed[:-1]:
        run(*words, folder=app)
    ended = certify(command(app / "my-app.ova", app / "ca" / "root.crt", tmp_path, "--profile", SHORT), tmp_path)
    assert ended.status == 0, ended.explain()
    assert ended.report["scope"] == "certification"
    assert not ended.verdicts("fail") | ended.verdicts("inconclusive") | ended.verdicts("not judged"), ended.explain()
