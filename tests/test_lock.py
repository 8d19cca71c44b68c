"""One server holds a data directory, the second is told who, and a holder that dies leaves no lock behind."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from gradloom.jobs.lock import LOCK_NAME, DataDirectoryInUseError, hold_data_directory

HOLDER = """
import sys, time
from pathlib import Path
from gradloom.jobs.lock import hold_data_directory
with hold_data_directory(Path(sys.argv[1]), "127.0.0.1:50051"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_server_is_told_who_holds_the_directory(holder, tmp_path):
    with (
        pytest.raises(DataDirectoryInUseError, match=f"process {holder.pid} on .*, listening on 127.0.0.1:50051"),
        hold_data_directory(tmp_path),
    ):
        pass


def test_a_killed_holder_leaves_the_directory_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold_data_directory(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()


def test_the_directory_can_be_held_again_after_the_block(tmp_path):
    for _ in range(2):
        with hold_data_directory(tmp_path / "new" / "data"):
            assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    with (
        pytest.raises(DataDirectoryInUseError),
        hold_data_directory(tmp_path),
        hold_data_directory(tmp_path),
    ):
        pass


def test_the_address_can_be_told_once_it_is_known(tmp_path):
    with hold_data_directory(tmp_path, "a long text that is replaced by a shorter one") as lock:
        lock.describe("127.0.0.1:40001")
        assert (tmp_path / LOCK_NAME).read_text().endswith(", listening on 127.0.0.1:40001\n")


def test_a_child_process_does_not_keep_the_lock(tmp_path):
    with hold_data_directory(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        with hold_data_directory(tmp_path):
            pass
    finally:
        child.communicate()


def test_a_directory_that_cannot_be_made_is_an_operating_system_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), hold_data_directory(tmp_path / "file" / "data"):
        pass
