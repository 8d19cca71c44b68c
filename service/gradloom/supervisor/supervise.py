"""One supervisor: a spare until it is given an attempt, then the attempt's keeper until nothing of it is left."""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from gradloom.supervisor import processes
from gradloom.supervisor.attempt_directory import AttemptDirectory, ExitRecord, SupervisorRecord
from gradloom.supervisor.attempt_log import DEFAULT_FILE_BYTES, DEFAULT_TOTAL_BYTES, LogWriter
from gradloom.supervisor.oom import oom_kills
from gradloom.supervisor.trainer import Trainer, read_available

DEFAULT_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_BEAT_LOOK_SECONDS = 1.0
_LOCK_WAIT_SECONDS = 5.0
_EXIT_WRITE_SECONDS = 30.0
_SPARE_OUTPUT_BYTES = 1024 * 1024
_TOLD_OUTPUT_BYTES = 4096
_LONGEST_LINE_BYTES = 32 * 1024


@dataclass(frozen=True)
class Options:
    """How a supervisor is started."""

    supervisor_id: str
    server_beat: Path
    """A file of 8 bytes that changes while a server lives."""
    orphan_timeout_seconds: float
    command: list[str]
    """The trainer."""
    log_file_bytes: int = DEFAULT_FILE_BYTES
    log_total_bytes: int = DEFAULT_TOTAL_BYTES


class RefusedError(Exception):
    """The attempt was not taken; nothing of it was started."""


def supervise(options: Options) -> int:
    """Runs one supervisor to its end; returns the exit code: 0 for an attempt that is on record, 3 for none taken.

    Single-threaded on purpose: the kernel ties the trainer's life to the thread that forked it.
    """
    processes.become_subreaper()
    wakeups = Wakeups()
    try:
        trainer = Trainer(options.command)
    except OSError as error:
        _tell("refused", str(error), error.errno)
        return 3
    spare = Spare(trainer, wakeups)
    attempt = None
    if (line := spare.wait()) is not None:
        try:
            attempt = Attempt.take(line, spare, options)
        except (RefusedError, OSError, ValueError, KeyError) as error:
            _tell("refused", str(error) or type(error).__name__, error.errno if isinstance(error, OSError) else None)
    if attempt is None:
        trainer.end(options.supervisor_id, lambda data: None, lambda text: None)
        return 3
    _tell("accepted")
    _leave_server()
    return attempt.keep()


class Wakeups:
    """Turns SIGCHLD and SIGTERM into something to poll for."""

    def __init__(self) -> None:
        self.terminated = False
        self.handle, wake_write = os.pipe()
        os.set_blocking(self.handle, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def drain(self) -> None:
        """Forgets the signals so far."""
        while read_available(self.handle):
            pass

    def _on_terminate(self, number: int, frame: object) -> None:
        self.terminated = True


class Spare:
    """A trainer that does its imports and waits for an attempt."""

    def __init__(self, trainer: Trainer, wakeups: Wakeups):
        self.trainer = trainer
        self.wakeups = wakeups
        self.output = b""
        """What the trainer has printed so far, for the log of the attempt."""

    def wait(self) -> bytes | None:
        """Waits for the line that makes this an attempt; None when server, trainer or a signal ends the spare."""
        line = b""
        waiting = select.poll()
        for handle in (0, self.wakeups.handle, self.trainer.output, self.trainer.ready):
            waiting.register(handle, select.POLLIN)
        while True:
            events = dict(waiting.poll())
            self.wakeups.drain()
            if self.trainer.output in events:
                self.read_output()
                if self.trainer.output_closed:
                    waiting.unregister(self.trainer.output)
            if self.trainer.ready in events:
                if read_available(self.trainer.ready):
                    _tell("ready")
                waiting.unregister(self.trainer.ready)
            if 0 in events:
                part = os.read(0, _LONGEST_LINE_BYTES)
                line += part
                if line.endswith(b"\n"):
                    return line
                if not part or len(line) > _LONGEST_LINE_BYTES:
                    return None
            if self.wakeups.terminated:
                return None
            if self.trainer.look():
                self.read_output()
                _tell("ended", self.output_tail())
                return None

    def read_output(self) -> None:
        """Keeps what the trainer prints, the first of it."""
        self.output += self.trainer.read_output()[: _SPARE_OUTPUT_BYTES - len(self.output)]

    def output_tail(self) -> str:
        """The end of what the trainer printed, to tell."""
        return self.output[-_TOLD_OUTPUT_BYTES:].decode(errors="replace")


class Attempt:
    """A trainer at work on one attempt."""

    @classmethod
    def take(cls, line: bytes, spare: Spare, options: Options) -> "Attempt":
        """Becomes the attempt's supervisor; raises RefusedError, or OSError of its files, with nothing taken."""
        request = json.loads(line)
        if spare.trainer.look():
            spare.read_output()
            raise RefusedError(f"the trainer has ended: {spare.output_tail()}")
        directory = AttemptDirectory(Path(request["attempt_directory"]))
        directory.create()
        lock = _lock(directory.lock)
        if directory.closed.exists() or directory.exit.exists() or directory.record.exists():
            raise RefusedError(f"{directory.path} belongs to an attempt that was started or given up before")
        directory.reserve_exit()
        own = processes.read_process(os.getpid())
        directory.write_record(
            SupervisorRecord(
                supervisor_id=options.supervisor_id,
                pid=os.getpid(),
                start_ticks=own.start_ticks if own else 0,
                trainer_pid=spare.trainer.pid,
                boot_id=processes.boot_id(),
            )
        )
        attempt = cls(directory, lock, spare, options)
        spare.trainer.assign(line)
        return attempt

    def __init__(self, directory: AttemptDirectory, lock: int, spare: Spare, options: Options):
        self._directory = directory
        self._lock = lock
        self._trainer = spare.trainer
        self._wakeups = spare.wakeups
        self._options = options
        self._record = ExitRecord()
        self._killed = False
        self._stop_deadline: float | None = None
        self._stop_seen: tuple[int, int] | None = None
        self._oom_kills = oom_kills()
        self._beat = b""
        self._beat_moved = time.monotonic()
        self._next_beat_look = 0.0
        self._log = LogWriter(directory.log, options.log_file_bytes, options.log_total_bytes)
        self._log.write(spare.output)

    def keep(self) -> int:
        """Keeps the attempt until nothing of it is left and its end is on record; returns the exit code."""
        try:
            self._watch()
        except Exception as error:
            # Whatever happens here, the trainer must not be left alone and the end must be on record.
            self._record.error = f"supervisor: {type(error).__name__}: {error}"
        self._trainer.end(self._options.supervisor_id, self._log.write, self._log.say)
        return self._write_exit()

    def _watch(self) -> None:
        """Writes the log and looks for reasons to end, until the trainer has ended or must."""
        waiting = select.poll()
        for handle in (self._wakeups.handle, self._trainer.output):
            waiting.register(handle, select.POLLIN)
        next_look = 0.0
        while not self._trainer.ended:
            events = dict(waiting.poll(_LOOK_SECONDS * 1000))
            if self._wakeups.handle in events:
                self._wakeups.drain()
                self._trainer.look()
            if self._trainer.output in events:
                self._log.write(self._trainer.read_output())
                if self._trainer.output_closed:
                    waiting.unregister(self._trainer.output)
            now = time.monotonic()
            if now < next_look:
                continue
            next_look = now + _LOOK_SECONDS
            self._look_for_stop(now)
            self._look_for_server(now)
            if self._stop_deadline is not None and now >= self._stop_deadline and not self._trainer.look():
                self._log.say("the trainer did not end in time and is killed")
                self._killed = True
                return

    def _look_for_stop(self, now: float) -> None:
        try:
            if os.stat(self._directory.lock).st_ino != os.fstat(self._lock).st_ino:
                raise FileNotFoundError
        except FileNotFoundError:
            # Without its directory the attempt cannot be found again, nor leave anything.
            self._record.error = "the attempt's directory was removed"
            self._stop(now, 0.0, self._record.error)
            return
        except OSError:
            pass  # Such as a network file system that does not answer for now.
        try:
            status = self._directory.stop.stat()
        except OSError:
            status = None
        if status is not None and (status.st_mtime_ns, status.st_ino) != self._stop_seen:
            self._stop_seen = (status.st_mtime_ns, status.st_ino)
            self._stop(now, _grace_seconds(self._directory.stop), "a stop was asked for")
        elif self._wakeups.terminated and self._stop_deadline is None:
            self._stop(now, DEFAULT_GRACE_SECONDS, "the supervisor received SIGTERM")

    def _look_for_server(self, now: float) -> None:
        """Judges the server by a counter that moves, against this process's own clock."""
        if now < self._next_beat_look:
            return
        timeout = self._options.orphan_timeout_seconds
        self._next_beat_look = now + min(_BEAT_LOOK_SECONDS, timeout / 4)
        beat = b""
        with contextlib.suppress(OSError):
            beat = self._options.server_beat.read_bytes()
        if beat and beat != self._beat:
            self._beat = beat
            self._beat_moved = now
        elif now - self._beat_moved > timeout and not self._record.orphaned:
            self._record.orphaned = True
            self._stop(now, DEFAULT_GRACE_SECONDS, f"no server was seen for {timeout:g} s")

    def _stop(self, now: float, grace_seconds: float, why: str) -> None:
        """Sends SIGTERM to the trainer's group; a later call can only shorten the time until it is killed."""
        self._record.stopped = True
        deadline = now + grace_seconds
        if self._stop_deadline is None:
            self._log.say(f"{why}; the trainer has {grace_seconds:g} s to end")
            self._trainer.signal_group(signal.SIGTERM)
            self._stop_deadline = deadline
        else:
            self._stop_deadline = min(self._stop_deadline, deadline)

    def _write_exit(self) -> int:
        record = self._complete_record()
        deadline = time.monotonic() + _EXIT_WRITE_SECONDS
        while True:
            try:
                self._directory.write_exit(record)
                return 0
            except OSError as error:
                if isinstance(error, FileNotFoundError) or time.monotonic() > deadline:
                    return 4  # The server finds the attempt lost, and the job goes on from there.
                time.sleep(0.5)

    def _complete_record(self) -> ExitRecord:
        record = self._record
        status = self._trainer.status
        assert status is not None
        record.exit_code = status if status >= 0 else None
        record.signal = -status if status < 0 else None
        record.assigned = self._trainer.has_assignment()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        record.user_cpu_seconds = used.ru_utime
        record.system_cpu_seconds = used.ru_stime
        record.peak_memory_bytes = used.ru_maxrss * 1024
        record.oom_killed = record.signal == signal.SIGKILL and not self._killed and oom_kills() > self._oom_kills
        self._log.say(_describe(record))
        if self._log.lost_bytes:
            record.log_loss = f"{self._log.lost_bytes} bytes of the log could not be written: {self._log.last_error}"
        return record


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            # A server that looks holds it for a moment.
            if time.monotonic() > deadline:
                os.close(handle)
                raise RefusedError(f"{path} is locked: the attempt is alive elsewhere") from None
            time.sleep(0.02)


def _grace_seconds(path: Path) -> float:
    try:
        return max(0.0, float(json.loads(path.read_bytes())["grace_seconds"]))
    except (OSError, ValueError, TypeError, KeyError):
        return DEFAULT_GRACE_SECONDS


def _tell(status: str, text: str = "", code: int | None = None) -> None:
    """Tells the server that started this supervisor, if it still lives."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps({"status": status, "text": text, "errno": code}) + "\n").encode())


def _leave_server() -> None:
    """Lets go of the pipes to the server: from here on its life is judged by its beat alone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)
    os.close(nowhere)


def _describe(record: ExitRecord) -> str:
    if record.signal is not None:
        name = signal.Signals(record.signal).name if record.signal in set(signal.Signals) else str(record.signal)
        cause = ", for want of memory" if record.oom_killed else ""
        return f"the trainer was ended by {name}{cause}"
    return f"the trainer ended with exit code {record.exit_code}"
