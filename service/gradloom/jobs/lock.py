"""One server per data directory: a lock that the kernel gives back when its holder dies, however it dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "server.lock"


class DataDirectoryInUseError(RuntimeError):
    """Another server holds the data directory; the message names it."""


class DataDirectoryLock:
    """The lock as its holder sees it."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def describe(self, address: str) -> None:
        """Writes who holds the lock and where it listens, for the server that comes second."""
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        text = f"{holder}, listening on {address}\n" if address else f"{holder}\n"
        # In place, for which a full disk has room, too.
        os.ftruncate(self._descriptor, os.pwrite(self._descriptor, text.encode(), 0))


@contextmanager
def hold_data_directory(directory: Path, address: str = "") -> Iterator[DataDirectoryLock]:
    """Holds the directory's lock during the block; creates the directory, for its owner alone, if it is missing.

    Raises DataDirectoryInUseError, with the holder, at once when another process holds it; OSError when the directory
    cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / LOCK_NAME
    # Never unlinked: two servers could then each lock a file of their own. Not inherited: supervisors outlive servers.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
            raise DataDirectoryInUseError(f"the data directory {directory} is in use by {holder}") from error
        lock = DataDirectoryLock(descriptor)
        lock.describe(address)
        yield lock
    finally:
        os.close(descriptor)
