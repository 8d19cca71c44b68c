"""What an attempt leaves on the disk: its log is put on record, what is half done or no longer wanted is removed."""

import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradloom.jobs.manifest import CHECKPOINT_DIRECTORY
from gradloom.jobs.stories import STORY_LINES, last_words
from gradloom.supervisor import attempt_log
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)

LOG_LINES = 50
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


def remove_unfinished(directory: Path, *, keep_export: bool) -> None:
    """Removes the attempt's temporary files, and its export unless it is a proven one. May be repeated."""
    for name in ("work",) if keep_export else ("work", "export"):
        path = directory / name
        if path.exists():
            shutil.rmtree(path, onerror=lambda function, at, error: logger.warning("%s stays: %s", at, error[1]))
    # Such as the room for its record that a supervisor had reserved which was killed.
    remove_files(directory.glob("supervisor/*.aside"))


def remove_files(paths: Iterable[Path]) -> None:
    """Removes files; one that stays is logged, and swept up when the job's attempt has ended."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s stays: %s", path, error)


def sweep_checkpoints(directory: Path, recorded: Collection[Path]) -> None:
    """Removes checkpoints of an ended attempt that are not on record: those that a kill left, of trainer or server."""
    place = directory / CHECKPOINT_DIRECTORY
    try:
        found = list(place.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s cannot be listed: %s", place, error)
        return
    remove_files(path for path in found if path not in recorded)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that it holds, also what user code made unwritable; raises OSError.

    Links go and are not followed. A directory that is not there is fine.
    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
    except PermissionError:
        path.chmod(0o700)
        for directory, names, _ in os.walk(path):
            for name in names:
                below = Path(directory, name)
                if not below.is_symlink():
                    below.chmod(0o700)
        shutil.rmtree(path)
