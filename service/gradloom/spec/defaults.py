"""Every default of a spec, filled in at one place."""

import re
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from gradloom.catalogue import Catalogue
from gradloom.job import (
    DEFAULT_BACKOFF_SECONDS,
    DEFAULT_KEPT_CHECKPOINTS,
    DEFAULT_MAX_ATTEMPTS,
    LONGEST_BACKOFF_SECONDS,
)
from gradloom.v1 import spec_pb2

DEFAULT_MODEL_NAME: Final = "model"
DEFAULT_EPOCHS: Final = 1
DEFAULT_GLOBAL_BATCH_SIZE: Final = 32
DEFAULT_FEATURES: Final = "features"
DEFAULT_LABEL: Final = "label"
DEFAULT_OUTPUT_WEIGHT: Final = 1.0
DEFAULT_CHECKPOINT_SECONDS: Final = 30.0
DEFAULT_STEP_TIMEOUT_SECONDS: Final = 600.0
DEFAULT_STAGE_TIMEOUT_SECONDS: Final = 1800.0
MOST_TYPE_CHARACTERS: Final = 100
"""What of a type's name goes into the default name of a layer or metric."""
DEFAULT_FORMATS: Final = (spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS)

_CONSTANTS: Final = spec_pb2.JobSpec(
    training=spec_pb2.TrainingSpec(
        epochs=DEFAULT_EPOCHS,
        global_batch_size=DEFAULT_GLOBAL_BATCH_SIZE,
        deterministic=False,
        precision=spec_pb2.TrainingSpec.FLOAT32,
        jit_compile=spec_pb2.TrainingSpec.DISABLED,
        gradient_accumulation_steps=1,
        synchronized_batch_normalization=True,
        step_timeout_seconds=DEFAULT_STEP_TIMEOUT_SECONDS,
        stage_timeout_seconds=DEFAULT_STAGE_TIMEOUT_SECONDS,
        checkpoint=spec_pb2.CheckpointSpec(keep=DEFAULT_KEPT_CHECKPOINTS),
    ),
    scheduling=spec_pb2.SchedulingSpec(preemptible=False),
    retry=spec_pb2.RetrySpec(max_attempts=DEFAULT_MAX_ATTEMPTS),
)
"""The defaults of single fields that follow from no other field, where a spec may be merged into them."""
_BACKOFF: Final = spec_pb2.RetryBackoff()
_BACKOFF.initial_duration.FromTimedelta(timedelta(seconds=DEFAULT_BACKOFF_SECONDS))
_BACKOFF.max_duration.FromTimedelta(timedelta(seconds=LONGEST_BACKOFF_SECONDS))


def with_defaults(spec: spec_pb2.JobSpec, seed: int) -> spec_pb2.JobSpec:
    """A copy of the spec with every default filled in that does not depend on devices or data.

    `seed` is the one drawn for this job; a seed in the spec stands. Applying it twice changes nothing. Left unset,
    because only the trainer can tell: `training.steps_per_loop` and `training.steps_per_epoch` (an epoch, a pass),
    `resources` (the server's devices), the end of a range.
    """
    filled = spec_pb2.JobSpec()
    filled.CopyFrom(_CONSTANTS)
    filled.MergeFrom(spec)
    _fill_model(filled.model)
    for source in ("train", "validation", "test"):
        if filled.data.HasField(source):
            _fill_source(getattr(filled.data, source))
    for metric in filled.metrics:
        metric.name = metric_name(metric)
    for output in filled.outputs.values():
        _fill(output, weight=DEFAULT_OUTPUT_WEIGHT)
        for metric in output.metrics:
            metric.name = metric_name(metric)
    monitor = _default_monitor(filled)
    for group in filled.variable_groups:
        _fill_group(group, monitor)
    _fill_training(filled.training, seed, monitor)
    if not filled.export.formats:
        filled.export.formats.extend(DEFAULT_FORMATS)
    _fill_backoff(filled.retry.backoff)
    return filled


def without_derived_defaults(spec: spec_pb2.JobSpec) -> spec_pb2.JobSpec:
    """A copy of a filled spec without the defaults that follow from its other fields, so that they follow from edits.

    `with_defaults` fills all of them in again.
    """
    bare = spec_pb2.JobSpec()
    bare.CopyFrom(spec)
    model, training = bare.model, bare.training
    monitor = _default_monitor(bare)
    if model.layers and list(model.outputs) == layer_names(model.layers)[-1:]:
        model.ClearField("outputs")
    if training.checkpoint.best == (training.early_stopping.monitor or monitor):
        training.checkpoint.ClearField("best")
    if training.checkpoint.every_seconds == DEFAULT_CHECKPOINT_SECONDS and not training.checkpoint.every_steps:
        training.checkpoint.ClearField("every_seconds")
    if training.early_stopping.monitor == monitor:
        training.early_stopping.ClearField("monitor")
    for group in bare.variable_groups:
        if group.reduce_on_plateau.monitor == monitor:
            group.reduce_on_plateau.ClearField("monitor")
    return bare


def _default_monitor(spec: spec_pb2.JobSpec) -> str:
    return "val_loss" if spec.data.HasField("validation") else "loss"


def _fill(message: Any, **defaults: Any) -> None:
    """Sets the fields that are not set."""
    for name, value in defaults.items():
        if not message.HasField(name):
            setattr(message, name, value)


def _fill_model(model: spec_pb2.ModelSpec) -> None:
    if not model.name:
        model.name = DEFAULT_MODEL_NAME
    for layer, name in zip(model.layers, layer_names(model.layers), strict=True):
        layer.name = name
    if not model.outputs:
        model.outputs.extend(output_names(model))
    if model.HasField("initial_weights") and not model.initial_weights.match:
        model.initial_weights.match.append("**")


def _fill_source(source: spec_pb2.DataSource) -> None:
    if source.HasField("builtin") and not source.builtin.split:
        source.builtin.split = "train"
    if source.HasField("npz"):
        if not source.npz.features:
            source.npz.features = DEFAULT_FEATURES
        if not source.npz.label and not source.npz.labels:
            source.npz.label = DEFAULT_LABEL
    _fill(source.range, **{"from": 0})


def _fill_group(group: spec_pb2.VariableGroup, monitor: str) -> None:
    _fill(group, frozen=False)
    if not group.frozen:
        _fill(group, update_every_steps=1)
    if group.HasField("reduce_on_plateau"):
        _fill(group.reduce_on_plateau, monitor=monitor, factor=0.1, patience=10, min_learning_rate=0.0)


def _fill_training(training: spec_pb2.TrainingSpec, seed: int, monitor: str) -> None:
    _fill(training, seed=seed)
    if training.HasField("early_stopping"):
        _fill(training.early_stopping, monitor=monitor, patience=1, min_delta=0.0, restore_best=True)
    if not training.checkpoint.HasField("every_steps"):
        _fill(training.checkpoint, every_seconds=DEFAULT_CHECKPOINT_SECONDS)
    _fill(training.checkpoint, best=training.early_stopping.monitor or monitor)


def _fill_backoff(backoff: spec_pb2.RetryBackoff) -> None:
    for name in ("initial_duration", "max_duration"):
        if not backoff.HasField(name):
            getattr(backoff, name).CopyFrom(getattr(_BACKOFF, name))


def output_names(model: spec_pb2.ModelSpec) -> list[str]:
    """The model's outputs, where they can be told without building it: those of `layers`."""
    return list(model.outputs) if model.outputs and model.layers else layer_names(model.layers)[-1:]


def given_name(layer: spec_pb2.LayerSpec) -> str:
    """The name that the layer's message or its config gives it, or an empty string."""
    if (name := layer.name) or not layer.HasField("config"):
        return name
    fields = layer.config.fields
    return fields["name"].string_value if "name" in fields else ""


def layer_names(layers: Iterable[spec_pb2.LayerSpec]) -> list[str]:
    """Every layer's name: the given one, else the type in snake case, numbered from the second on."""
    layers = list(layers)
    given = [given_name(layer) for layer in layers]
    taken = set(given)
    counts: dict[str, int] = {}
    names = []
    for layer, name in zip(layers, given, strict=True):
        if not name:
            stem = _snake_case(layer.type)
            while True:
                count = counts.get(stem, 0)
                counts[stem] = count + 1
                name = f"{stem}_{count}" if count else stem
                if name not in taken:
                    break
        names.append(name)
    return names


def metric_name(metric: spec_pb2.Component) -> str:
    """The metric's name: its own, its config's, else Keras's for the first metric of this type in a process."""
    if metric.name:
        return metric.name
    if "name" in metric.config.fields and metric.config.fields["name"].string_value:
        return metric.config.fields["name"].string_value
    entry = Catalogue.load().get("metric", metric.type)
    parameter = entry.by_name.get("name") if entry is not None else None
    return str(parameter.default) if parameter is not None and parameter.default else _snake_case(metric.type)


def _snake_case(type: str) -> str:
    """`max_pooling2d` for `MaxPooling2D`, as Keras does; without the package."""
    return _snake_case_of_class(type.rpartition(">")[2][:MOST_TYPE_CHARACTERS])


@lru_cache(maxsize=1024)
def _snake_case_of_class(name: str) -> str:
    stem = re.sub(r"\W+", "", name)
    stem = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", stem)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower() or "layer"
