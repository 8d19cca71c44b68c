"""What an attempt leaves on the disk that is half done or no longer wanted, and how it is removed."""

import logging
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from gradloom.jobs.manifest import CHECKPOINT_DIRECTORY

logger = logging.getLogger(__name__)


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
