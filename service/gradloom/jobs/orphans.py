"""Directories below the artifact root that belong to no job: what is nobody's work is removed when a server starts.

Such a directory is made by a supervisor that comes late, when its job has been removed already. One that holds a
checkpoint or an export is somebody's work, such as that of jobs which a database restored from a backup does not know:
it stays, and the log names it.
"""

import logging
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from gradloom.jobs.leavings import remove_tree
from gradloom.jobs.manifest import CHECKPOINT_DIRECTORY
from gradloom.supervisor.attempt_directory import AttemptDirectory

logger = logging.getLogger(__name__)

_SHOWN: Final = 5


def sweep_orphans(root: Path, known: Callable[[Collection[str]], set[str]]) -> None:
    """Removes them below a root that no other server uses; `known` tells which uids are a job's."""
    try:
        # Listed before the store is asked: a job has its row before it has a directory.
        found = {path.name: path for path in root.iterdir() if _is_uid(path.name) and path.is_dir()}
        orphans = [found[uid] for uid in sorted(found.keys() - known(found.keys()))]
    except OSError as error:
        logger.warning("The artifact root could not be swept: %s", error)
        return
    kept = []
    for path in orphans:
        try:
            if _is_needed(path):
                kept.append(path)
                continue
            logger.info("%s belongs to no job and holds no work: it is removed", path)
            remove_tree(path)
        except OSError as error:
            logger.warning("%s belongs to no job and could not be removed: %s", path, error)
    if kept:
        names = ", ".join(path.name for path in kept[:_SHOWN])
        logger.warning("%s: %d belong to no job that this database knows, but hold work: %s", root, len(kept), names)


def _is_needed(directory: Path) -> bool:
    """Whether a job's directory holds work or somebody who lives."""
    attempts = [path for path in directory.iterdir() if path.is_dir()]
    return any(_holds_work(path) or _is_alive(path) for path in attempts)


def _holds_work(attempt: Path) -> bool:
    return any(path.is_file() for name in (CHECKPOINT_DIRECTORY, "export") for path in (attempt / name).rglob("*"))


def _is_alive(attempt: Path) -> bool:
    """Whether a supervisor holds the attempt's lock."""
    try:
        with AttemptDirectory(attempt).locked():
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _is_uid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
