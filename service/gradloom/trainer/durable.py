"""Files and directories that survive the end of the machine's power."""

import os
from pathlib import Path


def flush_to_disk(path: Path) -> None:
    """Returns once a file's content, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
