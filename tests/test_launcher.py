"""The contract of every launcher: an attempt starts at most once, is found by its directory, ends with all below it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.jobs.launcher import Alive, Ended, LaunchError, Lost
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.supervisor import processes
from tests.supervised import TRAINER, ended, is_gone, kill, local_launcher, log_of, start, until

# A launcher that runs attempts elsewhere joins here and must pass everything below.
LAUNCHERS = {"local": local_launcher}


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalLauncher]:
    with LAUNCHERS[request.param](tmp_path) as started:
        yield started


def warm(launcher: LocalLauncher) -> int:
    """Keeps a spare ready; returns its supervisor's pid."""
    launcher.warm()
    spare = launcher.spare
    assert spare is not None
    until(spare.is_ready, "the spare's imports")
    return spare.process.pid


def test_an_attempt_lives_then_ends_with_its_exit_code_and_its_log(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1", "print('trains', flush=True); time.sleep(0.3); sys.exit(7)")
    assert isinstance(launcher.observe(attempt.path), Alive)
    record = ended(launcher, attempt.path)
    assert (record.exit_code, record.signal, record.stopped, record.oom_killed) == (7, None, False, False)
    assert record.peak_memory_bytes > 1_000_000
    assert log_of(attempt) == "imports\ntrains\n[supervisor] the trainer ended with exit code 7\n"


def test_an_attempt_that_never_began_is_lost(launcher: LocalLauncher, tmp_path: Path) -> None:
    assert isinstance(launcher.observe(tmp_path / "1"), Lost)


def test_what_a_spare_printed_is_in_the_log_of_the_attempt_that_uses_it(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    supervisor = warm(launcher)
    attempt = start(launcher, tmp_path / "1", "print('trains')")
    ended(launcher, attempt.path)
    record = attempt.read_record()
    assert record is not None
    assert record.pid == supervisor
    assert log_of(attempt).startswith("imports\ntrains\n")


@pytest.mark.parametrize("victim", ["supervisor", "trainer", "both"])
def test_a_spare_that_was_killed_is_replaced_by_a_fresh_start(
    launcher: LocalLauncher, tmp_path: Path, victim: str
) -> None:
    supervisor = warm(launcher)
    (trainer,) = processes.descendants(supervisor)
    if victim in ("supervisor", "both"):
        kill(supervisor)
    if victim in ("trainer", "both"):
        kill(trainer.pid)
    until(lambda: is_gone(trainer.pid), "the trainer's death")
    attempt = start(launcher, tmp_path / "1", "sys.exit(0)")
    assert ended(launcher, attempt.path).exit_code == 0


def test_an_end_before_the_trainer_took_its_assignment_is_told_from_one_after(tmp_path: Path) -> None:
    taken = tmp_path / "1/supervisor/supervisor.json"
    command = ["sh", "-c", f"while [ ! -e {taken} ]; do sleep 0.02; done; exit 1"]
    with local_launcher(tmp_path, trainer_command=command) as launcher:
        record = ended(launcher, start(launcher, tmp_path / "1").path)
        assert (record.exit_code, record.assigned) == (1, False)
    with local_launcher(tmp_path) as launcher:
        assert ended(launcher, start(launcher, tmp_path / "2", "sys.exit(1)").path).assigned


def test_a_dead_spare_is_replaced_after_a_pause(launcher: LocalLauncher) -> None:
    supervisor = warm(launcher)
    kill(supervisor)
    until(lambda: (launcher.warm(), launcher.spare is None)[1], "the notice of its death")
    until(lambda: (launcher.warm(), launcher.spare is not None)[1], "the next spare")


def test_close_ends_the_spare_and_leaves_attempts_alone(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    supervisor = warm(launcher)
    (trainer,) = processes.descendants(supervisor)
    launcher.close()
    assert is_gone(supervisor)
    assert is_gone(trainer.pid)
    assert isinstance(launcher.observe(attempt.path), Alive)


def test_a_trainer_that_cannot_be_executed_is_a_launch_error_that_says_why(tmp_path: Path) -> None:
    with (
        local_launcher(tmp_path, trainer_command=["/no/such/trainer"]) as launcher,
        pytest.raises(LaunchError, match=r"/no/such/trainer could not be started: .* No such file or directory"),
    ):
        start(launcher, tmp_path / "1")


def test_a_directory_that_cannot_be_written_is_a_launch_error(launcher: LocalLauncher, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match="Not a directory"):
        start(launcher, tmp_path / "file" / "1")


def test_a_stop_ends_the_attempt_and_is_on_record(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    launcher.stop(attempt.path, 10.0)
    record = ended(launcher, attempt.path)
    assert record.stopped
    assert record.signal == signal.SIGTERM


def test_a_trainer_that_ignores_sigterm_is_killed_after_the_grace(launcher: LocalLauncher, tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    attempt = start(launcher, tmp_path / "1", script)
    until(lambda: "deaf" in log_of(attempt))
    launcher.stop(attempt.path, 0.3)
    record = ended(launcher, attempt.path)
    assert record.stopped
    assert record.signal == signal.SIGKILL
    assert not record.oom_killed
    assert "did not end in time and is killed" in log_of(attempt)


def test_a_later_stop_shortens_the_grace_and_never_lengthens_it(launcher: LocalLauncher, tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    attempt = start(launcher, tmp_path / "1", script)
    until(lambda: "deaf" in log_of(attempt))
    launcher.stop(attempt.path, 600.0)
    until(lambda: "600 s to end" in log_of(attempt))
    launcher.stop(attempt.path, 0.0)
    launcher.stop(attempt.path, 600.0)
    launcher.stop(attempt.path, 0.0)
    assert ended(launcher, attempt.path).signal == signal.SIGKILL


def test_a_stopped_trainer_that_is_frozen_is_killed_too(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1", "os.kill(os.getpid(), signal.SIGSTOP)")
    record = attempt.read_record()
    assert record is not None
    until(lambda: (trainer := processes.read_process(record.trainer_pid)) is not None and trainer.state == "T")
    launcher.stop(attempt.path, 0.2)
    assert ended(launcher, attempt.path).signal == signal.SIGKILL


def test_a_stop_of_an_ended_attempt_changes_nothing(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1", "sys.exit(3)")
    before = ended(launcher, attempt.path)
    launcher.stop(attempt.path, 1.0)
    launcher.stop(tmp_path / "never", 1.0)
    assert launcher.observe(attempt.path) == Ended(before)


def test_a_killed_trainer_is_an_end_by_that_signal(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    record = attempt.read_record()
    assert record is not None
    kill(record.trainer_pid)
    end = ended(launcher, attempt.path)
    assert (end.exit_code, end.signal, end.stopped, end.oom_killed) == (None, signal.SIGKILL, False, False)


def test_a_killed_supervisor_takes_the_trainer_along_and_the_attempt_is_lost(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    script = (
        "a = subprocess.Popen(['setsid', 'sleep', '601']); b = subprocess.Popen(['env', '-i', 'sleep', '602'])\n"
        "print('children', a.pid, b.pid, 'there', flush=True); time.sleep(600)"
    )
    attempt = start(launcher, tmp_path / "1", script)
    until(lambda: "there" in log_of(attempt))
    children = [int(word) for word in log_of(attempt).split() if word.isdigit()]
    record = attempt.read_record()
    assert record is not None
    kill(record.pid)
    until(lambda: isinstance(launcher.observe(attempt.path), Lost), "the loss")
    assert launcher.kill_leftovers(attempt.path)
    assert all(is_gone(pid) for pid in [record.trainer_pid, *children])
    assert isinstance(launcher.observe(attempt.path), Lost)


def test_children_that_left_group_session_and_environment_end_with_the_trainer(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    double_fork = "setsid env -i sh -c 'setsid sleep 603 & echo child $! there; exit' "
    attempt = start(launcher, tmp_path / "1", f"subprocess.run({double_fork!r}, shell=True); time.sleep(0.2)")
    assert ended(launcher, attempt.path).exit_code == 0
    (child,) = [int(word) for word in log_of(attempt).splitlines()[1].split() if word.isdigit()]
    assert is_gone(child)


def test_no_zombie_is_left_behind(launcher: LocalLauncher, tmp_path: Path) -> None:
    for number in range(3):
        ended(launcher, start(launcher, tmp_path / str(number), "os.fork() or os._exit(0)").path)
    launcher.close()

    def zombies() -> list[int]:
        found = [processes.read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()]
        return [process.pid for process in found if process and process.parent == os.getpid() and process.state == "Z"]

    until(lambda: (launcher.observe(tmp_path / "0"), not zombies())[1], "the reaping")


def test_a_directory_is_started_only_once(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    with pytest.raises(LaunchError, match="alive elsewhere"):
        start(launcher, tmp_path / "1")
    launcher.stop(attempt.path, 0.0)
    ended(launcher, attempt.path)
    with pytest.raises(LaunchError, match="was started or given up before"):
        start(launcher, tmp_path / "1")


def test_an_attempt_that_was_given_up_can_no_longer_begin(launcher: LocalLauncher, tmp_path: Path) -> None:
    assert launcher.kill_leftovers(tmp_path / "1")
    with pytest.raises(LaunchError, match="was started or given up before"):
        start(launcher, tmp_path / "1")


def test_an_attempt_that_lives_cannot_be_given_up(launcher: LocalLauncher, tmp_path: Path) -> None:
    attempt = start(launcher, tmp_path / "1")
    assert not launcher.kill_leftovers(attempt.path)
    assert isinstance(launcher.observe(attempt.path), Alive)


SERVER = """
import sys, time
from pathlib import Path
from gradloom.jobs.launcher import AttemptStart
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.jobs.server_beat import ServerBeat

root, trainer, script = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
beat = ServerBeat(root / "server.beat")
launcher = LocalLauncher(beat.path, 60.0, trainer_command=[sys.executable, "-S", "-c", trainer])
launcher.start(AttemptStart(root / "1", "token", "unix:/nowhere", {"SCRIPT": script}))
launcher.warm()
while not launcher.spare.is_ready():
    time.sleep(0.01)
print(launcher.spare.process.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_server_leaves_its_attempts_to_the_next_one_and_no_spare(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    wait = f"while not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    script = f"print('a', flush=True)\n{wait}\nprint('b'); sys.exit(5)"
    command = [sys.executable, "-c", SERVER, str(tmp_path), TRAINER, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        spare = int(server.stdout.readline())
        (spare_trainer,) = processes.descendants(spare)
        server.kill()
    until(lambda: is_gone(spare) and is_gone(spare_trainer.pid), "the end of the spare")
    assert isinstance(launcher.observe(tmp_path / "1"), Alive)
    go_on.touch()
    assert ended(launcher, tmp_path / "1").exit_code == 5
    assert "a\nb\n" in (tmp_path / "1/log/attempt.log").read_text()
