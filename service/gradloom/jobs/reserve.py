"""Room on the database's disk for what must be stored although the disk is full.

A file beside the database holds blocks that nobody else can take. When the disk is full they go to SQLite's write-ahead
log, whose length SQLite takes as it finds it, and not back to the file system, where trainers would fill them at once.
As long as the room is given up, `Database.need_room` refuses what can wait: new jobs, claims, and what trainers report
while they train. All else is stored in it: cancels, pauses, edits, deletions, ends of attempts and their reasons.
"""

import errno
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from gradloom.jobs.disks import FULL_BYTES, free_bytes

logger = logging.getLogger(__name__)

RESERVE_BYTES: Final = 8 << 20
"""About a hundred changes, should not even the write-ahead log be folded into the database."""
_START_BYTES: Final = 1 << 20
"""Stays in the file: what a server needs that starts on the full disk, SQLite's shared memory for one."""
_LOOSE_BYTES: Final = 128 << 10
"""About so much stays free: for the small files that a server writes at its start."""
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
"""What the kernel says of a full disk, and of a quota that is used up."""


class Reserve:
    """The room of one database. Belongs to whoever may write to the database just now.

    Attributes:
        is_held: Whether the room is there; from when it is given up until it is made again, the disk counts as full.
    """

    def __init__(self, database: Path, disk: str = "--data-dir", size_bytes: int = RESERVE_BYTES):
        """`disk` is what the server's settings call the database's disk. With 0 bytes no file is made."""
        self.is_held = True
        self._directory = database.parent
        self._log = database.with_name(f"{database.name}-wal")
        self._file = database.with_name(f"{database.name}-reserve")
        self._disk = disk
        self._size = size_bytes

    def is_needed(self) -> bool:
        """Whether the disk is full, and the room not given up yet."""
        return self.is_held and self._free() < FULL_BYTES

    def full(self) -> str:
        """Says that the disk is full, as a clause; empty as long as the room is held."""
        if self.is_held:
            return ""
        # Whole ones, so that what is logged again and again does not change with every byte.
        needed = max(2 * FULL_BYTES, self._enough() - self._kept()) / (1 << 20)
        left = f"{_mebibytes(self._free())} left; {math.ceil(needed)} MiB are needed"
        return f"the disk of the server's {self._disk} is full ({left})"

    def is_read_only(self) -> bool:
        """Whether the disk takes no write at all."""
        try:
            return bool(os.statvfs(self._directory).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def begin(self) -> None:
        """Before the database is opened, which takes room itself: on a full disk, that of the file."""
        if self.is_needed():
            self._tell_full()
            self._shorten(0)

    def settle(self) -> None:
        """Once the database is open: makes the room, or keeps what there is of it; raises OSError."""
        if self.is_held and not self._make():
            self._tell_full()
        if not self.is_held:
            self._keep(self._file, min(_START_BYTES, self._size))
            self._keep(self._log, self._size - _START_BYTES)

    def give_up(self, fold: Callable[[], object]) -> None:
        """Has the write-ahead log take the room; first `fold` moves what that holds already into the database."""
        self._tell_full()
        self._shorten(_START_BYTES)
        fold()
        self._keep(self._log, self._size - _START_BYTES)

    def make_again(self, empty_log: Callable[[], bool]) -> None:
        """Takes the room back once there is more than that; `empty_log` gives what the log has to the file system."""
        if self.is_held or self._free() + self._kept() < self._enough() or not empty_log():
            return
        if self._make():
            self.is_held = True
            logger.info("%s has room again: new jobs are taken", self._directory)
        else:
            self._keep(self._log, self._size - _START_BYTES)

    def end(self) -> None:
        """Once the database is closed, and its log is gone: keeps for the next server what there is."""
        if not self.is_held:
            self._keep(self._file, self._size - _length(self._file))

    def _tell_full(self) -> None:
        self.is_held = False
        logger.warning(
            "The disk of %s is full (%s left): new jobs are refused and attempts wait; cancels, edits and deletions "
            "are stored in %s kept for them. Make room there; `gradloom delete JOB` removes what a job has",
            self._directory,
            _mebibytes(self._free()),
            _mebibytes(self._size),
        )

    def _enough(self) -> int:
        """With so much, kept and free together, the disk is full no more."""
        return self._size + 2 * FULL_BYTES

    def _kept(self) -> int:
        """What the room has become, in part used by now."""
        return _length(self._log) + _length(self._file)

    def _free(self) -> int:
        try:
            return free_bytes(self._directory)
        except OSError:
            # Whoever writes there finds out what is wrong, and says it.
            return FULL_BYTES

    def _make(self) -> bool:
        """Allocates the whole file, also where a copy of it has holes; False when there is no room for it."""
        if not self._size:
            return True
        try:
            with self._file.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._shorten(0)
            return False
        return True

    def _shorten(self, size: int) -> None:
        if _length(self._file) > size:
            with self._file.open("r+b") as file:
                _cut(file, size)

    def _keep(self, path: Path, size: int) -> None:
        """Lengthens the file by `size`, or by what there is, less what stays free; what it holds stays as it is."""
        if size <= _LOOSE_BYTES:
            return
        with path.open("ab") as file:
            begin = length = os.fstat(file.fileno()).st_size
            end = begin + size - _LOOSE_BYTES
            part = end - begin
            while part >= _LOOSE_BYTES:
                try:
                    os.posix_fallocate(file.fileno(), length, part)
                except OSError as error:
                    if error.errno not in NO_ROOM:
                        raise
                    part //= 2
                else:
                    length += part
                    part = min(part, end - length)
            if length < end:
                _cut(file, max(begin, length - _LOOSE_BYTES))


def _cut(file: BinaryIO, length: int) -> None:
    file.truncate(length)
    # Only then ext4 gives the blocks to others.
    os.fsync(file.fileno())


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mebibytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else "less than 1 MiB"
