"""Initial weights: a model starts with those of another job's checkpoint, found by their paths.

Weights alone: what optimizers keep, and the states of random generators, begin anew.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import child, did_you_mean, nearest, shown
from gradloom.spec import matches
from gradloom.trainer import checkpoints, models
from gradloom.trainer.checkpoints import DamagedCheckpoint, Saved, UnusableCheckpoint
from gradloom.trainer.datasets import DataUnavailable
from gradloom.v1 import spec_pb2

FIELD: Final = "spec.model.initial_weights"
MOST_LISTED: Final = 10
AVERAGED: Final = "averaged"
"""In a checkpoint's header: by the key of a weight whose average is exported, the sum that this is: factors by key."""
_MODEL: Final = "model/"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The weights in another job's checkpoint."""

    job: str
    """Its resource name."""
    global_step: int
    sha256: str
    """Of the file."""
    weights: Mapping[str, Sequence[np.ndarray]]
    """By path below the model's name: one, or several where layers share a path, in the model's order."""


def read_source(checkpoint: attempt_pb2.Checkpoint) -> Source:
    """Reads the checkpoint that a job was given to start with.

    Raises:
        DataUnavailable: The file is missing or damaged.
    """
    try:
        saved = checkpoints.read(Path(checkpoint.path))
        if saved.sha256 != checkpoint.sha256:
            raise DamagedCheckpoint("is not the file that was put on record")
    except UnusableCheckpoint as error:
        told = f"must have a checkpoint that is whole; {checkpoint.path} of {checkpoint.job} {error}"
        raise DataUnavailable([FieldFault(f"{FIELD}.job", told)]) from error
    return Source(checkpoint.job, saved.header.global_step, saved.sha256, _weights(saved))


def _weights(saved: Saved) -> Mapping[str, Sequence[np.ndarray]]:
    """The model's weights as they would be exported: with averages for weights, as the training says."""
    arrays, averaged = saved.arrays, saved.header.state.get(AVERAGED, {})
    found = defaultdict(list)
    for key, array in arrays.items():
        first, _, replica = key.rpartition("@")
        if key.startswith(_MODEL) and not (replica.isdecimal() and first in arrays):
            _, _, path = key.split("/", 2)
            value = _over_replicas(arrays, key)
            if key in averaged:
                terms = [factor * _over_replicas(arrays, term) for term, factor in averaged[key].items()]
                value = np.sum(terms, axis=0, dtype=array.dtype)
            found[path].append(value)
    return found


def _over_replicas(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """The value of a variable; the mean where replicas kept their own, as for statistics that are not synchronized."""
    first = arrays[key]
    copies: list[np.ndarray] = []
    while (other := f"{key}@{len(copies) + 1}") in arrays:
        copies.append(arrays[other])
    return np.mean([first, *copies], axis=0).astype(first.dtype) if copies and first.dtype.kind == "f" else first


@dataclass(frozen=True)
class _Match:
    """A weight of the model, the patterns that ask for it, and what the source has for it."""

    path: str
    variable: Any
    patterns: frozenset[str]
    value: np.ndarray | None
    """What can be loaded."""
    remark: str
    """Why nothing can, or what the value was."""


def load(model: keras.Model, source: Source, wanted: spec_pb2.InitialWeights) -> spec_pb2.ResolvedWeights:
    """Loads what matches, and says of every weight in the log what became of it.

    Args:
        model: Built, with weights of its own; no optimizer has seen it yet, because some begin with a copy of them.
        source: Where the new ones come from.
        wanted: Which, with defaults.

    Raises:
        InvalidRequestError: A pattern loads nothing.
    """
    found = _matches(model, source, wanted.match)
    faults = []
    for index, pattern in enumerate(wanted.match):
        asked = [match for match in found if pattern in match.patterns]
        if all(match.value is None for match in asked):
            faults.append(FieldFault(child(f"{FIELD}.match", index), _why_nothing(pattern, asked, found)))
    if faults:
        raise InvalidRequestError(faults)
    resolved = spec_pb2.ResolvedWeights(job=source.job, global_step=source.global_step, sha256=source.sha256)
    for match in found:
        if not match.patterns:
            _tell(match, "not asked for")
        elif match.value is None:
            resolved.not_loaded.append(f"{match.path}: {match.remark}")
            _tell(match, match.remark)
        else:
            match.variable.assign(tf.cast(match.value, match.variable.dtype))
            resolved.loaded.append(match.path)
            _tell(match, f"loaded{match.remark}")
    return resolved


def summary(resolved: spec_pb2.ResolvedWeights) -> str:
    """What a reader of the job should know of it, in a sentence."""
    told = f"begins with weights of {resolved.job} after step {resolved.global_step}: {len(resolved.loaded)} loaded"
    return f"{told}, {len(resolved.not_loaded)} not ({_listed(resolved.not_loaded)})" if resolved.not_loaded else told


def _matches(model: keras.Model, source: Source, patterns: Sequence[str]) -> list[_Match]:
    weights = {id(variable) for variable in model.weights}
    seen: Counter[str] = Counter()
    found = []
    for path, variable in models.variable_paths(model):
        if id(variable) in weights:  # All but the states of random generators.
            value, remark = _counterpart(path, seen[path], variable, source)
            asking = frozenset(pattern for pattern in patterns if matches(pattern, path))
            found.append(_Match(path, variable, asking, value, remark))
            seen[path] += 1
    return found


def _counterpart(path: str, position: int, variable: Any, source: Source) -> tuple[np.ndarray | None, str]:
    """What the source has for the variable, the one at `position` of those of its path; else None, and why."""
    there = source.weights.get(path, ())
    if position >= len(there):
        close = nearest(path, source.weights)
        return None, "is not there" + (f" (there is {close})" if close else "")
    value = there[position]
    if tuple(value.shape) != tuple(variable.shape):
        return None, f"is {list(value.shape)} there, {list(variable.shape)} here"
    old, new = tf.as_dtype(value.dtype), tf.as_dtype(variable.dtype)
    if old == new:
        return value, ""
    if old.is_floating and new.is_floating:
        return value, f", cast from {old.name} to {new.name}"
    return None, f"is {old.name} there, {new.name} here"


def _why_nothing(pattern: str, asked: Sequence[_Match], found: Sequence[_Match]) -> str:
    rule = "must match a weight that can be loaded"
    if asked:
        return f"{rule}; {shown(pattern)} matches {_listed([f'{match.path}, which {match.remark}' for match in asked])}"
    paths = [match.path for match in found]
    return f"{rule}; {shown(pattern)} matches none{did_you_mean(pattern, paths)}; weights: {_listed(paths)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return "; ".join(names[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _tell(match: _Match, what: str) -> None:
    logger.info("initial weight %s %s: %s", match.path, list(match.variable.shape), what)
