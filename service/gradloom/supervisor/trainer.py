"""The trainer as its supervisor sees it: started in its own group, its output in one pipe, ended with all below it."""

import contextlib
import fcntl
import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from typing import NoReturn

from gradloom.supervisor import processes

READY_FD = "GRADLOOM_READY_FD"
"""The environment variable that names the pipe on which the trainer says that its imports are done."""

_F_SETPIPE_SZ = 1031
_OUTPUT_PIPE_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_LAST_READS = 64
_OOM_SCORE_ADJUSTMENT = "500"
_SAY_EVERY_SECONDS = 10.0


class Trainer:
    """A started trainer; `pid` is also its process group."""

    def __init__(self, command: list[str]):
        """Forks and executes; raises OSError when the command cannot be executed."""
        self._stdin_read, self._stdin_write = os.pipe()
        self.output, output_write = os.pipe()
        self.ready, ready_write = os.pipe()
        failure_read, failure_write = os.pipe()
        with contextlib.suppress(OSError):  # A user may have a limit; the default size only makes the trainer wait.
            fcntl.fcntl(output_write, _F_SETPIPE_SZ, _OUTPUT_PIPE_BYTES)
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become_trainer(command, supervisor, self._stdin_read, output_write, ready_write, failure_write)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # Both sides do it, so that neither is early.
            os.setpgid(self.pid, self.pid)
        for handle in (output_write, ready_write, failure_write):
            os.close(handle)
        failure = os.read(failure_read, _READ_BYTES)  # The end of the pipe, once the command is executed.
        os.close(failure_read)
        if failure:
            os.waitpid(self.pid, 0)
            raise OSError(f"{command[0]} could not be started: {failure.decode()}")
        for handle in (self.output, self.ready):
            os.set_blocking(handle, False)
        self.output_closed = False
        self.ended = False
        """Ended, and perhaps still a zombie, so that its pid and group stay its own until all of it are killed."""
        self.status: int | None = None
        """The exit code, or minus the signal; None until the trainer is reaped."""

    def assign(self, line: bytes) -> None:
        """Hands over the one line on standard input, and closes it. The line must fit a pipe."""
        os.write(self._stdin_write, line)
        os.close(self._stdin_write)

    def has_assignment(self) -> bool:
        """Tells whether the trainer has read its line."""
        unread = bytearray(4)
        fcntl.ioctl(self._stdin_read, termios.FIONREAD, unread)
        return int.from_bytes(unread, sys.byteorder) == 0

    def read_output(self) -> bytes:
        """Reads what was printed; no bytes when there is nothing now, or nothing more (`output_closed`)."""
        data = read_available(self.output)
        self.output_closed = self.output_closed or data == b""
        return data or b""

    def look(self) -> bool:
        """Tells whether the trainer has ended; reaps ended orphans on the way."""
        while not self.ended:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                break
            if ended.si_pid == self.pid:
                self.ended = True
            else:
                os.waitpid(ended.si_pid, 0)
        return self.ended

    def signal_group(self, number: int) -> None:
        """Signals the trainer's process group, as long as the group is certainly its own."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def end(self, supervisor_id: str, write: Callable[[bytes], None], say: Callable[[str], None]) -> None:
        """Kills whatever is left, also what has left group or session, and returns when nothing is.

        Takes the last output to `write`, and tells `say` what does not end.
        """
        self.signal_group(signal.SIGKILL)
        said_at = time.monotonic()
        while True:
            self._reap()
            left = processes.kill_all(lambda: _left(supervisor_id))
            write(self.read_output())
            if not left and self.status is not None:
                break
            if time.monotonic() - said_at > _SAY_EVERY_SECONDS:
                said_at = time.monotonic()
                say(f"waits for killed processes to end: {', '.join(str(process.pid) for process in left)}")
            time.sleep(0.005)
        for _ in range(_LAST_READS):
            if not (data := self.read_output()):
                break
            write(data)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.ended = True
                self.status = os.waitstatus_to_exitcode(status)


def read_available(handle: int) -> bytes | None:
    """Reads what is there: None for nothing now, no bytes for the end."""
    try:
        return os.read(handle, _READ_BYTES)
    except BlockingIOError:
        return None


def _left(supervisor_id: str) -> list[processes.Process]:
    found = {process.pid: process for process in processes.descendants(os.getpid())}
    found |= {process.pid: process for process in processes.marked(supervisor_id)}
    return list(found.values())


def _become_trainer(command: list[str], supervisor: int, stdin: int, output: int, ready: int, failure: int) -> NoReturn:
    """Runs in the forked child."""
    try:
        os.setpgid(0, 0)
        processes.die_with_parent()
        if os.getppid() != supervisor:
            os._exit(1)  # The supervisor ended before the kernel was asked.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.set_inheritable(ready, True)
        os.environ[READY_FD] = str(ready)
        _prefer_as_oom_victim()
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(failure, str(error).encode())
        os._exit(127)


def _prefer_as_oom_victim() -> None:
    """Has the kernel, short of memory, end the trainer rather than its supervisor or the server."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE_ADJUSTMENT)
