"""Descriptors and archives that another packer of OVF writes: COT, from PyPI, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

from corpus import build
from judging import failing, judge

COT = Path(__file__).resolve().parents[2] / ".cache" / "peers" / "cot"
# setuptools brings the distutils that a Python of today has no more
RUN_COT = "import setuptools, sys; sys.argv[0] = 'cot'; from COT.ui.cli import main; main()"


def cot(folder: Path, *words: str) -> str:
    assert (COT / ".complete").is_file(), "COT is not there: requirements/install-peer cot"
    command = [sys.executable, "-W", "ignore", "-c", RUN_COT, "--quiet", *words]
    told = {**os.environ, "PYTHONPATH": str(COT)}
    return subprocess.run(command, cwd=folder, env=told, check=True, capture_output=True, text=True).stdout


def test_cot_reads_a_sound_package(tmp_path: Path) -> None:
    (tmp_path / "app.ova").write_bytes(build())
    shown = cot(tmp_path, "info", "app.ova")
    for word in ("Probe", "1.0.0", "disk.qcow2", "512 MiB", "user-plane", "iso"):
        assert word in shown


def test_what_cot_writes_anew_is_told_what_it_lacks(tmp_path: Path) -> None:
    """It drops the signature with the networks that it takes for unused, and its tar has pax records for its times."""
    (tmp_path / "app.ova").write_bytes(build())
    cot(tmp_path, "--force", "edit-product", "app.ova", "-v", "2.0.0", "-o", "out.ova")
    data = (tmp_path / "out.ova").read_bytes()
    assert failing(tmp_path, data) == {"PKG-001", "PKG-003", "DSC-004"}
    application = judge(tmp_path, data).package.application
    assert application is not None
    assert application.version == "2.0.0"
