"""Runs attempts as processes of this machine, each under its supervisor, with one spare kept warm."""

import contextlib
import errno
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gradloom.jobs.launcher import Alive, AttemptStart, Ended, LaunchError, Lost, Observation
from gradloom.supervisor import processes
from gradloom.supervisor.attempt_directory import AttemptDirectory, write_whole

logger = logging.getLogger(__name__)

TRAINER_COMMAND = (sys.executable, "-m", "gradloom.trainer")
_ANSWER_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_LEFTOVER_SECONDS = 5.0
_LATE_START_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class SpareSupervisor:
    """A supervisor that this server started and that has no attempt yet; it dies with the server."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], supervisor_id: str):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**environment, processes.MARK: supervisor_id},
            bufsize=0,
        )
        self.supervisor_id = supervisor_id
        self._received = b""

    def is_alive(self) -> bool:
        """Tells whether it still runs; reaps it if not."""
        return self.process.poll() is None

    def is_ready(self) -> bool:
        """Tells whether the trainer has said that its imports are done."""
        self._receive(0.0)
        return any(message.get("status") == "ready" for message in self._messages())

    def give(self, start: AttemptStart) -> dict[str, object]:
        """Gives it an attempt and waits for the answer: `accepted`, `refused` or `ended`, or `silent` for none."""
        request = {
            "attempt_directory": str(start.directory),
            "token": start.token,
            "address": start.address,
            "environment": dict(start.environment),
        }
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            for message in self._messages():
                if message.get("status") in ("accepted", "refused", "ended"):
                    return message
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._receive(remaining):
                text = self._received[-4096:].decode(errors="replace")
                return {"status": "silent", "text": f"the supervisor did not answer: {text}"}

    def last_words(self) -> str:
        """What it had to say before it ended."""
        while self._receive(0.0):
            pass
        for message in self._messages():
            if message.get("status") == "ended":
                return str(message.get("text"))
        return self._received[-4096:].decode(errors="replace")

    def end(self) -> None:
        """Ends it and its trainer, by closing the pipe that it lives by, then by force. Waits."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.release()

    def release(self) -> None:
        """Closes this side's pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _receive(self, timeout_seconds: float) -> bool:
        """Reads what it says; False when it said nothing in time or never will again."""
        assert self.process.stdout is not None
        waiting = select.poll()
        waiting.register(self.process.stdout, select.POLLIN)
        if not waiting.poll(timeout_seconds * 1000):
            return False
        data = os.read(self.process.stdout.fileno(), 65536)
        self._received += data
        return bool(data)

    def _messages(self) -> list[dict[str, object]]:
        found = []
        for line in self._received.splitlines():
            with contextlib.suppress(ValueError):  # Anything else is an interpreter's complaint.
                message = json.loads(line)
                if isinstance(message, dict):
                    found.append(message)
        return found


class LocalLauncher:
    """The launcher of `--launcher local`."""

    def __init__(
        self,
        server_beat: Path,
        orphan_timeout_seconds: float,
        *,
        trainer_command: Sequence[str] = TRAINER_COMMAND,
        environment: Mapping[str, str] | None = None,
        supervisor_options: Sequence[str] = (),
        keep_spare: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Takes the file of a ServerBeat; `environment` is that of the trainers, by default this process's own."""
        self._command = [
            *(sys.executable, "-m", "gradloom.supervisor", "--server-beat", str(server_beat)),
            *("--orphan-timeout", str(orphan_timeout_seconds), *supervisor_options),
        ]
        self._trainer_command = list(trainer_command)
        # Unbuffered: what a trainer prints right before it is killed shall be in its log.
        self._environment = {"PYTHONUNBUFFERED": "1", **(os.environ if environment is None else environment)}
        self._keep_spare = keep_spare
        self._clock = clock
        self._started_at = clock()
        self._spare: SpareSupervisor | None = None
        self._attempts: dict[Path, subprocess.Popen[bytes]] = {}
        self._pause_seconds = 0.0
        self._no_spare_before = clock()

    @property
    def spare(self) -> SpareSupervisor | None:
        """The spare that waits now."""
        return self._spare

    def start(self, start: AttemptStart) -> None:
        """See Launcher. Uses the spare, and a fresh supervisor when there is none or it has died."""
        spare, self._spare = self._spare, None
        if spare is not None and self._give(spare, start) is None:
            return
        fresh = self._spawn()
        failure = self._give(fresh, start)
        if failure is not None:
            raise failure

    def observe(self, directory: Path) -> Observation:
        """See Launcher."""
        self._reap()
        attempt = AttemptDirectory(directory)
        try:
            with attempt.locked():
                pass
        except BlockingIOError:
            return Alive()
        except (FileNotFoundError, NotADirectoryError):
            pass  # Somebody removed the directory. The supervisor sees it too, and ends.
        if directory in self._attempts:
            # Its supervisor holds nothing any more, but is still on its way out.
            return Alive()
        record = attempt.read_exit()
        return Lost() if record is None else Ended(record)

    def stop(self, directory: Path, grace_seconds: float) -> None:
        """See Launcher."""
        attempt = AttemptDirectory(directory)
        try:
            write_whole(attempt.stop, {"grace_seconds": grace_seconds})
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            logger.warning("%s cannot be written, the supervisor is signalled instead: %s", attempt.stop, error)
            self._signal_supervisor(attempt)

    def kill_leftovers(self, directory: Path) -> bool:
        """See Launcher. Waits a few seconds at most."""
        self._reap()
        attempt = AttemptDirectory(directory)
        if not self._give_up(attempt):
            return False
        record = attempt.read_record()
        if record is None or record.boot_id.split(" ")[0] != processes.boot_id().split(" ")[0]:
            return True  # It never began, or the machine was restarted since.
        same_pids = record.boot_id == processes.boot_id()

        def find() -> list[processes.Process]:
            found = processes.marked(record.supervisor_id)
            return found + (processes.session_members(record.pid, record.start_ticks) if same_pids else [])

        return _kill_until_gone(find)

    def warm(self) -> None:
        """See Launcher: keeps one spare, and after one that died pauses before the next, longer each time."""
        self._reap()
        spare = self._spare
        if spare is not None and spare.is_alive():
            if self._pause_seconds and spare.is_ready():
                self._pause_seconds = 0.0
            return
        if spare is not None:
            self._spare = None
            self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * self._pause_seconds))
            self._no_spare_before = self._clock() + self._pause_seconds
            logger.warning("The spare trainer ended before it was used: %s", spare.last_words().strip() or "no output")
            spare.release()
            _kill_until_gone(lambda: processes.marked(spare.supervisor_id))
        if self._keep_spare and self._clock() >= self._no_spare_before:
            self._spare = self._spawn()

    def close(self) -> None:
        """See Launcher."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.end()
            _kill_until_gone(lambda: processes.marked(spare.supervisor_id))
        self._reap()

    def _spawn(self) -> SpareSupervisor:
        supervisor_id = str(uuid.uuid4())
        command = [*self._command, "--id", supervisor_id, "--", *self._trainer_command]
        try:
            return SpareSupervisor(command, self._environment, supervisor_id)
        except OSError as error:
            raise LaunchError(f"the supervisor cannot be started: {error}") from error

    def _give(self, supervisor: SpareSupervisor, start: AttemptStart) -> LaunchError | None:
        """Gives the attempt to a supervisor; after a refusal nothing of it is left, and the error says why."""
        answer = supervisor.give(start)
        if answer["status"] == "accepted":
            supervisor.release()
            self._attempts[start.directory] = supervisor.process
            return None
        if answer["status"] == "silent":
            # It may take the attempt at any moment: it must be gone before anybody else gets it.
            supervisor.process.kill()
        supervisor.end()
        _kill_until_gone(lambda: processes.marked(supervisor.supervisor_id))
        return LaunchError(str(answer["text"]), disk_full=answer.get("errno") in (errno.ENOSPC, errno.EDQUOT))

    def _reap(self) -> None:
        """Takes the exit status of ended supervisors, so that none stays a zombie."""
        for directory, process in list(self._attempts.items()):
            if process.poll() is not None:
                del self._attempts[directory]

    def _give_up(self, attempt: AttemptDirectory) -> bool:
        """Closes the directory to a supervisor that comes late: one whose server died while it gave the attempt."""
        try:
            attempt.create()
            attempt.lock.touch()
            with attempt.locked():
                attempt.closed.touch()
        except BlockingIOError:
            return False
        except OSError as error:
            logger.warning("%s cannot be written: %s", attempt.closed, error)
            # A supervisor that is given an attempt takes or refuses it within seconds; later, none can come any more.
            return self._clock() - self._started_at > _LATE_START_SECONDS
        return True

    def _signal_supervisor(self, attempt: AttemptDirectory) -> None:
        record = attempt.read_record()
        if record is not None and record.boot_id == processes.boot_id():
            present = processes.read_process(record.pid)
            if present is not None and present.start_ticks == record.start_ticks:
                processes.kill(present, signal.SIGTERM)


def _kill_until_gone(find: Callable[[], list[processes.Process]]) -> bool:
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while processes.kill_all(find):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
