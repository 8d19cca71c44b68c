"""Installed packages of components, imported once: for the catalogue of the server, and in every trainer.

A package that cannot be imported, or registers what it may not, is left out whole; the rest is not concerned.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, Final, TextIO

import keras

from gradloom.catalogue import Catalogue, Entry, fields_of
from gradloom.packages import packages_of_components
from gradloom.trainer import strategy
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.registered import RegistrationError, entries_registered_by
from gradloom.v1 import spec_pb2

MOST_PROBLEM_CHARACTERS: Final = 600


@dataclass(frozen=True)
class Package:
    """One installed distribution, and what it registers; nothing when it has a problem."""

    name: str
    version: str
    entries: tuple[Entry, ...] = ()
    problem: str = ""


@cache
def packages() -> tuple[Package, ...]:
    """Imports every package, at the first call, and makes its components known to this process's catalogue."""
    found = tuple(_all_imported())
    Catalogue.add(entry for package in found for entry in package.entries)
    return found


def describe(answers: TextIO) -> None:
    """Writes a line of JSON before and one after each package, so that one that hangs or kills can be named."""
    for package in _all_imported(lambda name: print(json.dumps({"begins": name}), file=answers, flush=True)):
        fields: dict[str, Any] = {"package": package.name, "version": package.version, "problem": package.problem}
        print(json.dumps(fields | {"entries": [fields_of(e) for e in package.entries]}), file=answers, flush=True)


def versions_for(spec: spec_pb2.JobSpec) -> dict[str, str]:
    """The versions of the packages whose types a spec names; of all when it brings code, which may import any."""
    text = str(spec)
    return {
        package.name: package.version
        for package in packages()
        if spec.HasField("user_code") or any(_names(text, entry.type) for entry in package.entries)
    }


def _names(text: str, type: str) -> bool:
    return re.search(rf"(?<![\w.\-]){re.escape(type)}(?!\w)", text) is not None


def _all_imported(on_begin: Callable[[str], None] = lambda name: None) -> Iterator[Package]:
    found = packages_of_components()
    owners = {point.module.partition(".")[0]: name for name, points in found.items() for point in points}
    for name, points in found.items():
        on_begin(name)
        yield _imported(name, points, owners)


def _imported(name: str, points: Sequence[metadata.EntryPoint], owners: Mapping[str, str]) -> Package:
    version = metadata.version(name)
    try:
        return Package(name, version, entries_registered_by(lambda: _load(points), name, owners))
    except (Exception, SystemExit) as error:
        told = error if isinstance(error, RegistrationError) else f"{type(error).__name__}: {on_one_line(error)}"
        return Package(name, version, problem=str(told)[:MOST_PROBLEM_CHARACTERS])


def _load(points: Sequence[metadata.EntryPoint]) -> None:
    was_untouched = strategy.is_configurable()
    for point in points:
        loaded = point.load()
        registered = keras.saving.get_custom_objects().values()
        if not isinstance(loaded, ModuleType) and not any(loaded is member for member in registered):
            raise RegistrationError(
                f"the entry point {point.name} names {point.value}, which is neither a module nor registered with "
                "keras.saving.register_keras_serializable"
            )
    if was_untouched and not strategy.is_configurable():
        raise RegistrationError(
            "it makes a tensor or a variable while it is imported, and takes devices before a trainer is given its own"
        )


def problems() -> Iterator[str]:
    """A sentence for each package that is left out."""
    for package in packages():
        if package.problem:
            yield f"package {package.name} {package.version} is left out: {package.problem}"
