"""Real supervisors around a tiny trainer, which does what the test hands it as Python text."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gradloom.jobs.launcher import Alive, AttemptStart, Ended
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.jobs.server_beat import ServerBeat
from gradloom.supervisor import processes
from gradloom.supervisor.attempt_directory import AttemptDirectory, ExitRecord

TRAINER = """
import json, os, subprocess, sys, time, signal
print('imports', flush=True)
os.write(int(os.environ['GRADLOOM_READY_FD']), b'ready\\n')
line = sys.stdin.readline()
if not line:
    sys.exit(9)
request = json.loads(line)
exec(request['environment'].get('SCRIPT', ''))
"""
TRAINER_COMMAND = (sys.executable, "-S", "-c", TRAINER)
DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Polls until the condition holds; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE_SECONDS} s"
        time.sleep(0.01)


@contextlib.contextmanager
def local_launcher(directory: Path, **options: object) -> Iterator[LocalLauncher]:
    """A launcher of tiny trainers with a server's beat; ends every attempt below the directory afterwards."""
    beat = ServerBeat(directory / "server.beat")
    arguments = {"orphan_timeout_seconds": 60.0, "trainer_command": TRAINER_COMMAND, **options}
    launcher = LocalLauncher(beat.path, **arguments)  # type: ignore[arg-type]
    try:
        yield launcher
    finally:
        launcher.close()
        for record in directory.glob("**/supervisor.json"):
            attempt = record.parent.parent
            launcher.stop(attempt, 0.0)
            until(lambda attempt=attempt: not isinstance(launcher.observe(attempt), Alive), "the end of an attempt")
            launcher.kill_leftovers(attempt)
        beat.close()


def start(launcher: LocalLauncher, directory: Path, script: str = "time.sleep(600)") -> AttemptDirectory:
    """Starts an attempt whose trainer runs the script."""
    launcher.start(AttemptStart(directory, "token", "unix:/nowhere.sock", {"SCRIPT": script}))
    return AttemptDirectory(directory)


def ended(launcher: LocalLauncher, directory: Path) -> ExitRecord:
    """Waits for the attempt's end."""
    until(lambda: not isinstance(launcher.observe(directory), Alive), "the end of the attempt")
    observed = launcher.observe(directory)
    assert isinstance(observed, Ended)
    return observed.record


def log_of(attempt: AttemptDirectory) -> str:
    """What the attempt has printed so far, in the file that is being written."""
    return attempt.log.read_text() if attempt.log.exists() else ""


def is_gone(pid: int) -> bool:
    """Tells whether a process has ended, zombies included."""
    process = processes.read_process(pid)
    return process is None or process.state in "ZX"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
