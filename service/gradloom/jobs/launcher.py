"""What the scheduler asks of whatever starts attempts, and what it can be told about one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gradloom.supervisor.attempt_directory import ExitRecord


@dataclass(frozen=True)
class AttemptStart:
    """What an attempt needs to begin; the trainer asks for the rest with its token."""

    directory: Path
    token: str = field(repr=False)
    address: str
    """Of the AttemptService."""
    environment: Mapping[str, str]
    """Variables that the trainer sets before it touches a device."""


@dataclass(frozen=True)
class Alive:
    """The attempt's supervisor lives."""


@dataclass(frozen=True)
class Ended:
    """The attempt's end is on record and nothing of it is left."""

    record: ExitRecord


@dataclass(frozen=True)
class Lost:
    """The attempt never began, or its supervisor is gone without a record; processes of it may be left."""


Observation = Alive | Ended | Lost


class LaunchError(Exception):
    """The attempt could not be started, and nothing of it is left."""

    def __init__(self, message: str, disk_full: bool = False):
        super().__init__(message)
        self.disk_full = disk_full
        """For want of room on the disk."""


class Launcher(Protocol):
    """Starts attempts, finds them by their directories, also after a restart, and ends them.

    Called from one thread. An attempt is started at most once: a directory that was started, or given up by
    `kill_leftovers`, is never started again.
    """

    def start(self, start: AttemptStart) -> None:
        """Starts an attempt and returns once its supervisor answers for it; raises LaunchError."""

    def observe(self, directory: Path) -> Observation:
        """Tells what has become of an attempt."""

    def stop(self, directory: Path, grace_seconds: float) -> None:
        """Has an attempt end within the grace; a repeat can only shorten it. Does not wait."""

    def kill_leftovers(self, directory: Path) -> bool:
        """Gives up a lost attempt for good and kills what is left of it; False as long as something is."""

    def warm(self) -> None:
        """Sees to it that the next start is quick. Does not wait."""

    def close(self) -> None:
        """Ends what was only kept warm; attempts live on."""
