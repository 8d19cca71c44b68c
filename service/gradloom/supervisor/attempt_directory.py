"""The directory of one attempt, the only thing by which an attempt is known: its files, its lock, how it ended.

A supervisor holds the lock for its whole life. Lock held: alive. Lock free and an exit record: ended. Lock free and no
record: lost.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_EXIT_RECORD_BYTES = 4096


@dataclass
class ExitRecord:
    """How an attempt ended, as its supervisor saw it."""

    exit_code: int | None = None
    """The trainer's exit code; None when a signal ended it."""
    signal: int | None = None
    assigned: bool = True
    """The trainer had taken its assignment; if not, the job has no part in its end."""
    oom_killed: bool = False
    """The kernel killed the trainer because memory ran out."""
    stopped: bool = False
    """A stop had been asked for."""
    orphaned: bool = False
    """No server had been seen for the orphan timeout."""
    user_cpu_seconds: float = 0.0
    system_cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    """The largest resident memory of any one process of the attempt."""
    error: str | None = None
    """What went wrong with the supervision itself."""
    log_loss: str | None = None
    """How much of the log could not be written, and why."""


@dataclass(frozen=True)
class SupervisorRecord:
    """Who supervises; enough to find what is left of an attempt whose supervisor was killed."""

    supervisor_id: str
    pid: int
    start_ticks: int
    trainer_pid: int
    boot_id: str


class AttemptDirectory:
    """Paths and records below one attempt's directory."""

    def __init__(self, path: Path):
        self.path = path
        self.supervisor = path / "supervisor"
        self.lock = self.supervisor / "lock"
        self.record = self.supervisor / "supervisor.json"
        self.exit = self.supervisor / "exit.json"
        self.stop = self.supervisor / "stop"
        self.closed = self.supervisor / "closed"
        """Written under the lock once the attempt is given up: a supervisor that comes late refuses to start."""
        self.log = path / "log" / "attempt.log"

    def create(self) -> None:
        """Makes the directories of supervisor and log."""
        self.supervisor.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock; raises BlockingIOError when a supervisor does, FileNotFoundError when there is none."""
        handle = os.open(self.lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)

    def read_exit(self) -> ExitRecord | None:
        """Reads how the attempt ended; None without a whole record."""
        values = _read_json(self.exit)
        if values is None:
            return None
        return ExitRecord(**{field.name: values[field.name] for field in fields(ExitRecord) if field.name in values})

    def read_record(self) -> SupervisorRecord | None:
        """Reads who supervises; None without a whole record."""
        values = _read_json(self.record)
        try:
            return None if values is None else SupervisorRecord(**values)
        except TypeError:
            return None

    def write_record(self, record: SupervisorRecord) -> None:
        """Writes who supervises, whole or not at all; raises OSError."""
        write_whole(self.record, asdict(record))

    def reserve_exit(self) -> None:
        """Takes the disk blocks of the exit record in advance, so that a disk that fills later does not lose it."""
        with open(self._exit_aside, "wb") as file:
            file.write(b" " * _EXIT_RECORD_BYTES)
            file.flush()
            os.fsync(file.fileno())

    def write_exit(self, record: ExitRecord) -> None:
        """Writes how the attempt ended, on disk when this returns, whole or not at all; raises OSError."""
        text = json.dumps(asdict(record)).encode()
        handle = os.open(self._exit_aside, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            # In place, over the reserved blocks; trailing blanks are JSON too.
            os.pwrite(handle, text.ljust(_EXIT_RECORD_BYTES), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(self._exit_aside, self.exit)
        _sync_directory(self.supervisor)

    @property
    def _exit_aside(self) -> Path:
        return self.supervisor / "exit.json.aside"


def write_whole(path: Path, value: object) -> None:
    """Writes JSON aside and renames it into place; raises OSError."""
    aside = path.with_name(path.name + ".aside")
    aside.write_text(json.dumps(value) + "\n")
    os.rename(aside, path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
