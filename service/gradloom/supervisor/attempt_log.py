"""An attempt's log: written by its supervisor in files of one exact size, read by byte offset over all of them.

`attempt.log` is the one being written; `attempt.log.1`, `.2`, ... are full, `.1` the first. All full ones have the same
size, so the offset of a byte in the whole log follows from the file's number, also after the first files were dropped.
"""

import os
from pathlib import Path
from typing import NamedTuple

DEFAULT_FILE_BYTES = 64 * 1024 * 1024
DEFAULT_TOTAL_BYTES = 1024 * 1024 * 1024


class Segment(NamedTuple):
    """One file of a log."""

    path: Path
    offset: int
    """Of its first byte, in the whole log."""
    size: int
    inode: int


def segments(log: Path) -> list[Segment]:
    """Lists the files of a log in order; empty before the first byte. `log` is the path of `attempt.log`."""
    numbers = sorted(_numbers(log))
    found: list[Segment] = []
    offset = 0
    for number in numbers:
        path = log.with_name(f"{log.name}.{number}")
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # Dropped a moment ago.
        found.append(Segment(path, (number - 1) * status.st_size, status.st_size, status.st_ino))
        offset = number * status.st_size
    try:
        status = log.stat()
    except (FileNotFoundError, NotADirectoryError):
        return found
    if found and found[-1].inode == status.st_ino:
        return segments(log)  # Rotated between the two looks.
    return [*found, Segment(log, offset, status.st_size, status.st_ino)]


def read(log: Path, offset: int, limit: int) -> tuple[int, bytes]:
    """Reads at most `limit` bytes from `offset` of the whole log; returns where they really start and the bytes.

    They start later than asked when the files before were dropped. No bytes: nothing is there yet.
    """
    while True:
        for segment in segments(log):
            start = max(offset, segment.offset)
            if start >= segment.offset + segment.size:
                continue
            try:
                with open(segment.path, "rb") as file:
                    if os.fstat(file.fileno()).st_ino != segment.inode:
                        break  # Rotated since the listing: look again.
                    file.seek(start - segment.offset)
                    return start, file.read(min(limit, segment.offset + segment.size - start))
            except FileNotFoundError:
                break
        else:
            return offset, b""


class Extent(NamedTuple):
    """Which bytes of a log are there."""

    begin: int
    """Offset of the first one; so many were dropped before it."""
    end: int
    """One past the last; so many were written in all."""


def extent(log: Path) -> Extent:
    """Tells how long a log is, and where it begins now."""
    found = segments(log)
    return Extent(found[0].offset, found[-1].offset + found[-1].size) if found else Extent(0, 0)


class Line(NamedTuple):
    """One line of a log, without its end."""

    offset: int
    """Of its first byte, in the whole log."""
    text: str


def tail(log: Path, lines: int, limit: int = 256 * 1024) -> list[Line]:
    """Reads the last lines of a log, from at most its last `limit` bytes."""
    begin, end = extent(log)
    offset = max(begin, end - limit)
    text = b""
    while offset < end:
        start, part = read(log, offset, end - offset)
        if not part:
            break
        # What was dropped meanwhile is a gap, after which the text begins anew.
        text = part if start > offset else text + part
        offset = start + len(part)
    found: list[Line] = []
    for line in reversed(text.splitlines(keepends=True)[-lines:]):
        offset -= len(line)
        found.append(Line(offset, line.rstrip(b"\r\n").decode(errors="replace")))
    return found[::-1]


def _numbers(log: Path) -> list[int]:
    try:
        names = os.listdir(log.parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    suffixes = (name.removeprefix(f"{log.name}.") for name in names if name.startswith(f"{log.name}."))
    return [int(suffix) for suffix in suffixes if suffix.isdigit()]


class LogWriter:
    """Writes an attempt's log; never raises and never stops taking bytes. What it had to lose, it says in the log."""

    def __init__(self, log: Path, file_bytes: int = DEFAULT_FILE_BYTES, total_bytes: int = DEFAULT_TOTAL_BYTES):
        self._log = log
        self._file_bytes = file_bytes
        self._keep_files = max(2, total_bytes // file_bytes)
        self._handle: int | None = None
        self._size = 0
        self._at_line_start = True
        self._unreported_bytes = 0
        self.lost_bytes = 0
        self.last_error: str | None = None

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        if self._unreported_bytes and not self._report_loss():
            self._lose(len(data))
            return
        written = self._append(data)
        if written < len(data):
            self._lose(len(data) - written)

    def say(self, text: str) -> None:
        """Appends a line of the supervisor's own, on a line by itself."""
        start = "" if self._at_line_start else "\n"
        self.write(f"{start}[supervisor] {text}\n".encode())

    def _report_loss(self) -> bool:
        text = f"{self._unreported_bytes} bytes of output could not be written: {self.last_error}"
        notice = f"\n[supervisor] {text}\n".encode()
        if self._append(notice) < len(notice):
            return False
        self._unreported_bytes = 0
        return True

    def _lose(self, count: int) -> None:
        self._unreported_bytes += count
        self.lost_bytes += count

    def _append(self, data: bytes) -> int:
        """Writes as much as the disk takes; returns how much."""
        written = 0
        try:
            while written < len(data):
                handle = self._current()
                written += self._write_some(handle, data[written : written + self._file_bytes - self._size])
        except OSError as error:
            self.last_error = error.strerror or str(error)
        return written

    def _write_some(self, handle: int, data: bytes) -> int:
        count = os.write(handle, data)
        self._size += count
        self._at_line_start = data[count - 1 : count] == b"\n"
        return count

    def _current(self) -> int:
        """Gives the file to write to, a new one when there is none or it is full; raises OSError."""
        if self._handle is not None and self._size < self._file_bytes:
            return self._handle
        dropped: list[int] = []
        if self._handle is not None:
            numbers = sorted(_numbers(self._log))
            os.rename(self._log, self._numbered(numbers[-1] + 1 if numbers else 1))
            os.close(self._handle)
            self._handle = None
            # With the new file, at most so many are kept.
            dropped = numbers[: max(0, len(numbers) + 2 - self._keep_files)]
            for number in dropped:
                self._numbered(number).unlink(missing_ok=True)
        handle = self._handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = os.fstat(handle).st_size
        if dropped:
            start = "" if self._at_line_start else "\n"
            limit, gone = self._keep_files * self._file_bytes, dropped[-1] * self._file_bytes
            text = f"{start}[supervisor] the log is over its limit of {limit} bytes: its first {gone} are dropped\n"
            self._write_some(handle, text.encode())
        return handle

    def _numbered(self, number: int) -> Path:
        return self._log.with_name(f"{self._log.name}.{number}")
