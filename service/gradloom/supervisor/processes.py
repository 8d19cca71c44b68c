"""Finds and ends processes through /proc; Linux only."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

MARK = "GRADLOOM_SUPERVISOR_ID"
"""The environment variable that every process of an attempt carries."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Process(NamedTuple):
    """One process as /proc/<pid>/stat shows it; `start_ticks` tells it from a later one of the same pid."""

    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def become_subreaper() -> None:
    """Makes orphans below this process its children, so that a double fork hides nothing from it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def read_process(pid: int) -> Process | None:
    """Reads one process; None when there is none of that pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, a parenthesis too.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def all_processes() -> Iterator[Process]:
    """Walks over every process but zombies, which hold nothing and cannot be killed."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := read_process(int(entry))) and process.state not in "ZX":
            yield process


def descendants(ancestor: int) -> list[Process]:
    """Finds the children of `ancestor` and theirs."""
    children: dict[int, list[Process]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    pending = [ancestor]
    while pending:
        below = children.pop(pending.pop(), [])
        found.extend(below)
        pending.extend(process.pid for process in below)
    return found


def is_marked(pid: int, supervisor_id: str) -> bool:
    """Tells whether the process was started below that supervisor, judged by its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={supervisor_id}".encode() in environment.split(b"\0")


def marked(supervisor_id: str) -> list[Process]:
    """Finds every process but the caller that carries the supervisor's mark."""
    own = os.getpid()
    return [process for process in all_processes() if process.pid != own and is_marked(process.pid, supervisor_id)]


def session_members(leader: int, leader_start_ticks: int) -> list[Process]:
    """Finds the processes of a session by the pid and start of the process that led it, which may be gone."""
    present = read_process(leader)
    if present is not None and present.start_ticks != leader_start_ticks:
        return []  # The pid belongs to another process now, and so may the session.
    own = os.getpid()
    return [process for process in all_processes() if process.session == leader and process.pid != own]


def kill(process: Process, number: int = signal.SIGKILL) -> bool:
    """Sends a signal to exactly this process; False when it may not be signalled, True also when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return True
    try:
        present = read_process(process.pid)
        if present is not None and present.start_ticks == process.start_ticks:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(handle)
    return True


def kill_all(find: Callable[[], list[Process]]) -> list[Process]:
    """Kills what `find` finds, once; returns what is still to go. A process that may not be signalled is left out."""
    return [process for process in find() if kill(process)]


def boot_id() -> str:
    """Names this boot of the machine together with this container's set of pids."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
