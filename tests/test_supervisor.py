"""What a supervisor does beyond what every launcher promises: its log, its record, its judgement of the server."""

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.jobs.launcher import Alive, LaunchError
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.supervisor import attempt_log, processes
from gradloom.supervisor.attempt_directory import AttemptDirectory, ExitRecord
from gradloom.supervisor.attempt_log import LogWriter
from tests.supervised import TRAINER_COMMAND, ended, is_gone, kill, local_launcher, log_of, start, until


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    with local_launcher(tmp_path) as started:
        yield started


def supervisor_pid(attempt: AttemptDirectory) -> int:
    record = attempt.read_record()
    assert record is not None
    return record.pid


def test_an_attempt_ends_as_orphaned_when_no_server_is_seen(tmp_path: Path) -> None:
    silent = tmp_path / "silent.beat"
    silent.write_bytes(bytes(8))
    with local_launcher(tmp_path) as helper:
        launcher = LocalLauncher(silent, 0.5, trainer_command=TRAINER_COMMAND, keep_spare=False)
        attempt = start(launcher, tmp_path / "1")
        record = ended(launcher, attempt.path)
        assert record.orphaned
        assert record.signal == signal.SIGTERM
        assert "no server was seen for 0.5 s" in log_of(attempt)
        launcher.close()
        helper.close()


def test_a_server_that_is_seen_keeps_its_attempts_alive(tmp_path: Path) -> None:
    with local_launcher(tmp_path, orphan_timeout_seconds=1.5) as launcher:
        attempt = start(launcher, tmp_path / "1", "time.sleep(3)")
        record = ended(launcher, attempt.path)
        assert (record.orphaned, record.exit_code) == (False, 0)


def test_sigterm_to_the_supervisor_ends_the_attempt_in_order(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    os.kill(supervisor_pid(attempt), signal.SIGTERM)
    record = ended(launcher, attempt.path)
    assert record.stopped
    assert record.signal == signal.SIGTERM


def test_sigterm_to_a_spare_ends_it(launcher: LocalLauncher) -> None:
    launcher.warm()
    assert launcher.spare is not None
    until(launcher.spare.is_ready)
    pid = launcher.spare.process.pid
    (trainer,) = processes.descendants(pid)
    os.kill(pid, signal.SIGTERM)
    until(lambda: is_gone(pid) and is_gone(trainer.pid))


def test_an_attempt_whose_directory_is_removed_ends(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    record = attempt.read_record()
    assert record is not None
    os.rename(attempt.path, tmp_path / "elsewhere")
    until(lambda: is_gone(record.trainer_pid) and is_gone(record.pid))


def test_a_flood_of_output_is_rotated_within_its_limit_while_the_supervisor_still_listens(tmp_path: Path) -> None:
    options = ("--log-file-bytes", "1000000", "--log-total-bytes", "4000000")
    with local_launcher(tmp_path, supervisor_options=options) as launcher:
        script = "n = 0\nwhile True:\n    n += 1; os.write(1, b'%09d\\n' % n)"
        attempt = start(launcher, tmp_path / "1", script)
        until(lambda: attempt.log.with_name("attempt.log.6").exists())
        launcher.stop(attempt.path, 10.0)
        assert ended(launcher, attempt.path).signal == signal.SIGTERM
        files = sorted(attempt.log.parent.iterdir())
        assert len(files) <= 4
        assert {path.stat().st_size for path in files if path != attempt.log} == {1_000_000}
        segments = attempt_log.segments(attempt.log)
        assert segments[0].offset == 1_000_000 * (int(segments[0].path.suffix[1:]) - 1)
        whole = b"".join(path.read_bytes() for path in (segment.path for segment in segments))
        gone = attempt_log.extent(attempt.log).begin
        assert f"is over its limit of 4000000 bytes: its first {gone} are dropped\n".encode() in whole
        numbers = [int(line) for line in whole.splitlines()[1:] if line.isdigit() and len(line) == 9]
        missing = [after for before, after in itertools.pairwise(numbers) if after != before + 1]
        # Only where a notice stands in the middle of a line is that one line broken.
        assert len(missing) <= len(files)


def test_a_log_is_read_by_offset_over_all_its_files(tmp_path: Path) -> None:
    log = tmp_path / "attempt.log"
    writer = LogWriter(log, file_bytes=10, total_bytes=1000)
    text = b"0123456789abcdefghijKLMNO"
    writer.write(text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempt.log", "attempt.log.1", "attempt.log.2"]
    assert [attempt_log.read(log, offset, 4)[1] for offset in (0, 8, 10, 22, 25)] == [
        b"0123",
        b"89",
        b"abcd",
        b"MNO",
        b"",
    ]
    assert attempt_log.tail(log, 1) == [(0, text.decode())]
    assert attempt_log.extent(log) == (0, 25)
    writer.write(b"\nlast but one\nl\xffst")
    assert attempt_log.tail(log, 2) == [(26, "last but one"), (39, "l\ufffdst")]
    assert attempt_log.read(log, 26, 4) == (26, b"last")


def test_a_reader_of_dropped_output_is_told_where_the_log_begins_now(tmp_path: Path) -> None:
    log = tmp_path / "attempt.log"
    writer = LogWriter(log, file_bytes=1000, total_bytes=3000)
    writer.write(b"x" * 3500)
    start_offset, data = attempt_log.read(log, 0, 10)
    assert (start_offset, data) == (1000, b"x" * 10)


def test_a_full_disk_costs_log_lines_and_the_log_says_how_many(tmp_path: Path) -> None:
    log = tmp_path / "attempt.log"
    log.symlink_to("/dev/full")
    writer = LogWriter(log)
    writer.write(b"lost\n")
    writer.write(b"lost too\n")
    assert writer.lost_bytes == 14
    assert writer.last_error == "No space left on device"


def test_a_log_that_cannot_be_written_for_a_while_stops_nothing_and_is_told_of(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    wait = f"while not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    sent = tmp_path / "sent"
    script = (
        f"print('before', flush=True)\n{wait}\nprint('x' * 50000, flush=True)\nopen({str(sent)!r}, 'w').close()\n"
        f"{wait.replace('go-on', 'end')}\nprint('after')"
    )
    attempt = start(launcher, tmp_path / "1", script)
    until(lambda: "before" in log_of(attempt))
    # A limit on the size of files stands for a full disk: writing beyond it fails alike.
    supervisor = supervisor_pid(attempt)
    unlimited = resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    go_on.touch()
    until(sent.exists)
    until(lambda: attempt.log.stat().st_size == 5000)
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, unlimited)
    (tmp_path / "end").touch()
    record = ended(launcher, attempt.path)
    assert record.exit_code == 0
    assert record.error is None
    assert record.log_loss is not None
    assert "of the log could not be written: File too large" in record.log_loss
    text = log_of(attempt)
    assert "bytes of output could not be written: File too large" in text
    assert "after\n" in text


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    """Leaves not a byte free."""
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    assert os.statvfs(disk).f_bavail == 0


def test_the_end_is_on_record_even_when_the_disk_is_full(tiny_disk: Path, launcher: LocalLauncher) -> None:
    attempt = start(launcher, tiny_disk / "1", "time.sleep(0.3); sys.exit(4)")
    fill(tiny_disk)
    record = ended(launcher, attempt.path)
    assert record.exit_code == 4


def test_a_start_on_a_full_disk_is_refused_as_such_and_a_stop_still_works(
    tiny_disk: Path, launcher: LocalLauncher
) -> None:
    attempt = start(launcher, tiny_disk / "1")
    fill(tiny_disk)
    with pytest.raises(LaunchError, match="No space left on device") as caught:
        start(launcher, tiny_disk / "2")
    assert caught.value.disk_full
    launcher.stop(attempt.path, 10.0)
    assert ended(launcher, attempt.path).stopped


def test_an_exit_record_is_whole_or_absent(tmp_path: Path) -> None:
    attempt = AttemptDirectory(tmp_path)
    attempt.create()
    attempt.reserve_exit()
    assert attempt.read_exit() is None
    attempt.write_exit(ExitRecord(exit_code=3, error="x"))
    assert attempt.read_exit() == ExitRecord(exit_code=3, error="x")


def test_a_supervisor_killed_at_random_moments_leaves_a_record_or_a_loss_and_no_process(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    for number in range(8):
        attempt = start(launcher, tmp_path / str(number), f"time.sleep({0.01 * number})")
        record = attempt.read_record()
        assert record is not None
        # The trainer's own end, so that the kill falls into the writing of the record.
        until(lambda record=record: is_gone(record.trainer_pid))
        if not is_gone(record.pid):
            kill(record.pid)
        until(lambda attempt=attempt: not isinstance(launcher.observe(attempt.path), Alive))
        end = attempt.read_exit()
        assert end is None or end.exit_code == 0
        assert launcher.kill_leftovers(attempt.path)


def test_the_supervisor_is_quick_to_start_and_small(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    status = Path(f"/proc/{supervisor_pid(attempt)}/status").read_text()
    (resident,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    assert resident < 24 * 1024, f"{resident} KiB resident"


def test_unknown_options_are_refused() -> None:
    command = [sys.executable, "-m", "gradloom.supervisor", "--id", "x", "--server-beat", "/b", "--bogus", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown options: --bogus" in done.stderr
