"""The resolved spec: everything that decides the result of a training, and how two of them differ."""

import hashlib
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message

from gradloom.differences import differences
from gradloom.trainer import installed, models
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.loop import Training
from gradloom.trainer.strategy import Threads
from gradloom.v1 import spec_pb2
from gradloom.version import __version__

MOST_DIFFERENCES: Final = 20


class EnvironmentChangedError(Exception):
    """What an attempt found is not what one before it resolved; `differences` name each."""

    def __init__(self, differences: Sequence[str], resolver: str = "the first attempt"):
        self.differences = tuple(differences)
        shown = "; ".join(self.differences[:MOST_DIFFERENCES])
        more = len(self.differences) - MOST_DIFFERENCES
        super().__init__(f"what {resolver} resolved has changed: {shown}" + (f"; and {more} more" if more > 0 else ""))


@dataclass(frozen=True)
class Resolution:
    """The devices and threads that a training uses."""

    device_kind: int
    replicas: int
    threads: Threads


def resolve(
    spec: spec_pb2.JobSpec,
    resolution: Resolution,
    model: keras.Model,
    assignment: Mapping[str, str],
    training: Training,
    sources: Mapping[str, Arrays],
) -> spec_pb2.ResolvedSpec:
    """The record of what runs.

    Args:
        spec: With every default that does not depend on devices or data.
        resolution: The devices.
        model: Built.
        assignment: By trainable variable's path, its group's name.
        training: Built.
        sources: The examples by name.
    """
    filled = _filled(spec, resolution, training.steps_per_epoch, sources)
    frozen = {group.name for group in spec.variable_groups if group.frozen}
    return spec_pb2.ResolvedSpec(
        spec=filled,
        variables=[_variable(path, variable, assignment, frozen) for path, variable in models.variable_paths(model)],
        data=[_data(name, arrays) for name, arrays in sources.items()],
        device_kind=resolution.device_kind,  # type: ignore[arg-type]
        replicas=resolution.replicas,
        steps_per_epoch=training.steps_per_epoch,
        steps_per_loop=filled.training.steps_per_loop,
        intra_op_threads=resolution.threads.intra_op,
        inter_op_threads=resolution.threads.inter_op,
        synchronized_layers=training.synchronized_layers,
        jit_compiled=training.jit_compiled,
        versions=versions() | installed.versions_for(spec),
        replica_dependent_layers=training.replica_dependent_layers,
    )


def resolve_data(
    spec: spec_pb2.JobSpec, device_kind: int, replicas: int, sources: Mapping[str, Arrays]
) -> spec_pb2.ResolvedSpec:
    """The record of what is known before there is a model."""
    return spec_pb2.ResolvedSpec(
        spec=spec,
        data=[_data(name, arrays) for name, arrays in sources.items()],
        device_kind=device_kind,  # type: ignore[arg-type]
        replicas=replicas,
        versions=versions() | installed.versions_for(spec),
    )


def versions() -> dict[str, str]:
    """Versions that can change the result."""
    return {
        "gradloom": __version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


def require_unchanged(stored: spec_pb2.ResolvedSpec, found: spec_pb2.ResolvedSpec) -> None:
    """Raises EnvironmentChangedError, naming every difference: later attempts train as the first one or not at all."""
    changed = list(told_differences(stored, found))
    if changed:
        raise EnvironmentChangedError(changed)


def told_differences(
    stored: spec_pb2.ResolvedSpec, found: spec_pb2.ResolvedSpec, fields: Collection[str] | None = None
) -> Iterator[str]:
    """`replicas was 2, is 1` for every field that differs, with its path; of some fields, or of all."""
    for one in differences(stored, found, names=fields, label=_label):
        yield f"{one.path} was {one.before}, is {one.now}"


def spec_digest(resolved: spec_pb2.ResolvedSpec) -> str:
    """What a resolved spec is known by in a checkpoint."""
    return hashlib.sha256(resolved.SerializeToString(deterministic=True)).hexdigest()


def _filled(
    spec: spec_pb2.JobSpec, resolution: Resolution, steps_per_epoch: int, sources: Mapping[str, Arrays]
) -> spec_pb2.JobSpec:
    """The spec with the defaults that follow from devices and data."""
    filled = spec_pb2.JobSpec()
    filled.CopyFrom(spec)
    for name, arrays in sources.items():
        positions = getattr(filled.data, name).range
        positions.to = getattr(positions, "from") + len(arrays)
    if not filled.training.HasField("steps_per_loop"):
        filled.training.steps_per_loop = steps_per_epoch
    if resolution.device_kind == spec_pb2.ResolvedSpec.GPU:
        filled.resources.gpus = resolution.replicas
    else:
        filled.resources.cpu_replicas = resolution.replicas
    return filled


def _variable(path: str, variable: Any, assignment: Mapping[str, str], frozen: set[str]) -> spec_pb2.VariableAssignment:
    group = assignment.get(path, "") if variable.trainable else ""
    return spec_pb2.VariableAssignment(
        path=path,
        shape=list(variable.shape),
        dtype=keras.backend.standardize_dtype(variable.dtype),
        group=group,
        trained=bool(group) and group not in frozen,
    )


def _data(name: str, arrays: Arrays) -> spec_pb2.ResolvedData:
    labels = None if isinstance(arrays.labels, Mapping) else arrays.labels
    return spec_pb2.ResolvedData(
        source=name,
        examples=len(arrays),
        feature_shape=arrays.features.shape[1:],
        feature_dtype=arrays.features.dtype.name,
        label_shape=() if labels is None else labels.shape[1:],
        label_dtype="" if labels is None else labels.dtype.name,
        sha256=arrays.sha256,
    )


def _label(entry: Message, position: int) -> str | int:
    """The source of data, the path of a variable, the name of a group; else its position."""
    known = [str(getattr(entry, name)) for name in ("source", "path", "name") if hasattr(entry, name)]
    return next(filter(None, known), position)
