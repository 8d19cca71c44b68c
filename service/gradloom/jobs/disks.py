"""Whether the disks that the server and its attempts write to have room left."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from gradloom.jobs.wording import count

FULL_BYTES: Final = 1 << 20
"""A disk with less room than this is taken for full: an attempt could neither begin nor save anything."""


def free_bytes(path: Path) -> int:
    """What `df` tells: how much everybody may still write below the path; raises OSError.

    What a file system keeps for root is not counted for root either: ext4 keeps some from root as well, in one sum.
    """
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class Disks:
    """The disks below some paths, by what the server's settings call them, such as `--artifact-root`."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        free: Callable[[Path], int] = free_bytes,
        full_store: Callable[[], str] = str,
    ):
        """`full_store` says that the store's disk is full, as `full` does: it needs more room than others."""
        self._paths = paths
        self._free = free
        self._full_store = full_store

    def full(self) -> str:
        """Says which one is full, as a clause; empty when none is, as far as can be seen."""
        for name, free in self.left().items():
            if free < FULL_BYTES:
                return f"the disk of the server's {name} is full ({count(free, 'byte')} left)"
        return self._full_store()

    def left(self) -> dict[str, int]:
        """How many bytes are free on each, as far as can be seen."""
        left = {}
        for name, path in self._paths.items():
            # Whoever writes there finds out what is wrong, and says it.
            with suppress(OSError):
                left[name] = self._free(path)
        return left
