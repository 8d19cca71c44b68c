"""Which files a spec may name: those that lie within the server's data roots once symlinks and `..` are resolved."""

import os
from collections.abc import Sequence
from pathlib import Path

from gradloom.faults import shown


def resolve_within(path: str, data_roots: Sequence[str]) -> Path | str:
    """The real path, or which rule it breaks when it does not lie within a root; whether it exists is not said."""
    if "\0" in path or len(path) > 4096 or not os.path.isabs(path):
        return f"must be an absolute path within the server's data roots; got {shown(path)}"
    try:
        real = Path(os.path.realpath(path))
        roots = [Path(os.path.realpath(root)) for root in data_roots]
    except (OSError, ValueError):
        return f"must be a path within the server's data roots; got {shown(path)}"
    if any(real != root and real.is_relative_to(root) for root in roots):
        return real
    known = ", ".join(str(root) for root in data_roots) or "none are set (--data-roots)"
    return f"must lie within the server's data roots, symlinks and .. resolved; got {shown(path)}; roots: {known}"
