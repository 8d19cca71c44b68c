"""Small disks that get full or read-only, in a mount namespace of one's own, for which nobody must be root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ISOLATED = ("unshare", "--mount", "--map-root-user")
"""A command after it may mount what nobody else sees."""


def may_mount(directory: Path) -> bool:
    """Whether this user may mount a disk for a process of its own."""
    command = [*ISOLATED, "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mount_disk(directory: Path, size_bytes: int) -> None:
    """Makes the directory, with an empty disk of that size in its place."""
    directory.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(directory))


def unmount(directory: Path) -> None:
    """Takes away what was mounted last, whoever still uses it."""
    _run("umount", "-l", str(directory))


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Leaves not a byte of the disk free; whoever frees some meanwhile gives it to whoever comes first."""
    filler = directory / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(directory).f_bavail == 0
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Lets nobody write below the directory, but to what is open already."""
    _run("mount", "--bind", str(directory), str(directory))
    _run("mount", "-o", "remount,bind,ro", str(directory))
    try:
        yield
    finally:
        unmount(directory)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
