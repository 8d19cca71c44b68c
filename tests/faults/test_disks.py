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
    isolated(tmp_path, "tests.faults.small_disk")


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param("changes_on_a_full_disk", id="on a full disk changes and ends are stored, and new jobs refused"),
        pytest.param("a_disk_that_a_write_fills", id="a write that fills the disk is to be asked for again"),
        pytest.param("no_room_for_a_database", id="without room for a database no server starts, and it says why"),
        pytest.param("a_read_only_disk", id="a change that a read-only disk refuses says that it is read-only"),
        pytest.param(
            "a_stop", id="whoever is stopped on a full disk is told which steps are lost, and where it goes on"
        ),
        pytest.param("a_server", id="a server starts on a full disk, on which deletions make room for new jobs"),
    ],
)
def test_what_must_be_stored_is_stored_on_a_full_disk_and_who_is_refused_is_told_what_helps(tmp_path: Path, scene: str):
    isolated(tmp_path, "tests.faults.full_disk", scene)


def isolated(tmp_path: Path, *module_and_arguments: str) -> None:
    """Runs a module that is told a directory where it may mount disks."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("this user may not mount a small disk")
    done = subprocess.run(
        [*ISOLATED, sys.executable, "-m", *module_and_arguments, str(disk)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
