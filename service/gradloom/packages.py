"""Installed packages that bring components: how they are found, without importing them.

A package says so by the entry point group `gradloom.components`; each entry point names a module, or an object in one,
that registers its classes with `keras.saving.register_keras_serializable(package=...)`. Only trainers import them.
"""

import os
from collections.abc import Mapping
from importlib import metadata
from typing import Final

GROUP: Final = "gradloom.components"
LEFT_OUT_VARIABLE: Final = "GRADLOOM_PACKAGES_LEFT_OUT"
"""Names, between commas, the packages that the server could not use: its trainers do not try them again."""


def packages_of_components() -> Mapping[str, list[metadata.EntryPoint]]:
    """The entry points by their distribution's name, both sorted; without what is left out."""
    left_out = os.environ.get(LEFT_OUT_VARIABLE, "").split(",")
    found: dict[str, set[metadata.EntryPoint]] = {}
    for entry_point in metadata.entry_points(group=GROUP):
        if entry_point.dist is not None and entry_point.dist.name not in left_out:
            found.setdefault(entry_point.dist.name, set()).add(entry_point)
    return {name: sorted(points, key=lambda point: point.name) for name, points in sorted(found.items())}
