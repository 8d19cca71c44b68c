"""Disks that get full or read-only while jobs train."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .disk import ISOLATED, may_mount

ROOT = Path(__file__).parents[2]


def test_jobs_that_a_full_disk_and_a_read_only_one_refuse_every_write_end_with_the_same_results(tmp_path: Path):
    """On a disk of its own, in a mount namespace of its own, for which nobody needs to be root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("this user may not mount a small disk")
    done = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.faults.small_disk", str(disk)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
