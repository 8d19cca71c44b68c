"""What is put on record of an ended attempt's log: its last lines, its size, and a digest of each of its files."""

import hashlib
import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gradloom.jobs.stories import STORY_LINES, last_words
from gradloom.supervisor import attempt_log
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)

LARGE_BYTES: Final = 4 << 20
"""Of a log; to read that much takes some ten milliseconds."""
LOG_LINES: Final = 50
"""So many of the last lines go into a failed job's error."""


@dataclass(frozen=True)
class AttemptLog:
    """What there is of an ended attempt's log."""

    last_lines: Sequence[str] = ()
    artifacts: Sequence[job_pb2.Artifact] = ()
    """Its files: kind, size_bytes, sha256 and the path below the attempt's directory."""
    size_bytes: int | None = None
    """Of all that was written, also of what was dropped since; None when it cannot be read."""
    dropped_bytes: int | None = None


class EndedLogs:
    """Reads the logs of ended attempts: large ones in threads of their own, so that no other job waits for the disk.

    Belongs to one thread. Whatever it reads may be lost at any moment: the next server reads it again.
    """

    def __init__(self) -> None:
        self._readings: dict[Path, Future[AttemptLog]] = {}

    def read(self, directory: Path) -> AttemptLog | None:
        """The log of the attempt with this directory; None while it is being read: ask again."""
        reading = self._readings.get(directory)
        if reading is None:
            if _size(directory) <= LARGE_BYTES:
                return read_log(directory)
            reading = self._readings[directory] = _begin(directory)
        return reading.result() if reading.done() else None

    def is_reading(self, directory: Path) -> bool:
        """Whether somebody has asked for a large log, and not yet forgotten it."""
        return directory in self._readings

    def keep(self, directories: Collection[Path]) -> None:
        """Forgets what was read of all others."""
        self._readings = {path: reading for path, reading in self._readings.items() if path in directories}


def _size(directory: Path) -> int:
    try:
        extent = attempt_log.extent(AttemptDirectory(directory).log)
    except OSError:
        return 0  # Whoever reads it tells.
    return extent.end - extent.begin


def _begin(directory: Path) -> Future[AttemptLog]:
    reading: Future[AttemptLog] = Future()

    def read() -> None:
        try:
            reading.set_result(read_log(directory))
        except Exception as error:
            reading.set_exception(error)

    # A daemon: it must not hold up the end of the server; the next one reads the log again.
    threading.Thread(target=read, name="log-reader", daemon=True).start()
    return reading


def read_log(directory: Path) -> AttemptLog:
    """Reads the end of the attempt's log and describes its files; what cannot be read is left out."""
    log = AttemptDirectory(directory).log
    try:
        begin, end = attempt_log.extent(log)
        lines = last_words(attempt_log.tail(log, STORY_LINES), LOG_LINES)
        return AttemptLog(lines, tuple(_described(attempt_log.segments(log), directory)), end, begin)
    except OSError as error:
        logger.warning("The log below %s cannot be read: %s", directory, error)
        return AttemptLog()


def _described(segments: Iterable[attempt_log.Segment], directory: Path) -> Iterator[job_pb2.Artifact]:
    for segment in segments:
        try:
            with open(segment.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except OSError as error:
            logger.warning("%s cannot be read: %s", segment.path, error)
            continue
        path = str(segment.path.relative_to(directory))
        yield job_pb2.Artifact(path=path, kind=job_pb2.Artifact.LOG, size_bytes=size, sha256=digest)
