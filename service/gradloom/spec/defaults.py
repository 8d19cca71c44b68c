"""Every default of a spec, filled in at one place."""

import re
from collections.abc import Iterable
from typing import Final

from gradloom.catalogue import Catalogue
from gradloom.job import DEFAULT_MAX_ATTEMPTS
from gradloom.v1 import spec_pb2

DEFAULT_MODEL_NAME: Final = "model"
DEFAULT_EPOCHS: Final = 1
DEFAULT_GLOBAL_BATCH_SIZE: Final = 32
DEFAULT_FORMATS: Final = (spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS)


def with_defaults(spec: spec_pb2.JobSpec, seed: int) -> spec_pb2.JobSpec:
    """A copy of the spec with every default filled in that does not depend on devices or data.

    `seed` is the one drawn for this job; a seed in the spec stands. Applying it twice changes nothing. Left unset,
    because only the trainer can tell: `training.steps_per_loop` (an epoch), `resources` (the server's devices), the end
    of a range.
    """
    filled = spec_pb2.JobSpec()
    filled.CopyFrom(spec)
    if not filled.model.name:
        filled.model.name = DEFAULT_MODEL_NAME
    for layer, name in zip(filled.model.layers, layer_names(filled.model.layers), strict=True):
        layer.name = name
    if filled.model.layers and not filled.model.outputs:
        filled.model.outputs.append(filled.model.layers[-1].name)
    for source in ("train", "validation", "test"):
        if filled.data.HasField(source):
            _fill_source(getattr(filled.data, source))
    for metric in filled.metrics:
        metric.name = metric_name(metric)
    for group in filled.variable_groups:
        if not group.HasField("frozen"):
            group.frozen = False
    _fill_training(filled.training, seed)
    if not filled.export.formats:
        filled.export.formats.extend(DEFAULT_FORMATS)
    if not filled.retry.HasField("max_attempts"):
        filled.retry.max_attempts = DEFAULT_MAX_ATTEMPTS
    return filled


def _fill_source(source: spec_pb2.DataSource) -> None:
    if source.HasField("builtin") and not source.builtin.split:
        source.builtin.split = "train"
    if source.HasField("npz"):
        if not source.npz.features:
            source.npz.features = "features"
        if not source.npz.label:
            source.npz.label = "label"
    if not source.range.HasField("from"):
        setattr(source.range, "from", 0)


def _fill_training(training: spec_pb2.TrainingSpec, seed: int) -> None:
    defaults = {
        "epochs": DEFAULT_EPOCHS,
        "global_batch_size": DEFAULT_GLOBAL_BATCH_SIZE,
        "seed": seed,
        "deterministic": False,
    }
    for name, value in defaults.items():
        if not training.HasField(name):
            setattr(training, name, value)


def given_name(layer: spec_pb2.LayerSpec) -> str:
    """The name that the layer's message or its config gives it, or an empty string."""
    if layer.name:
        return layer.name
    return layer.config.fields["name"].string_value if "name" in layer.config.fields else ""


def layer_names(layers: Iterable[spec_pb2.LayerSpec]) -> list[str]:
    """Every layer's name: the given one, else the type in snake case, numbered from the second on."""
    layers = list(layers)
    taken = {given_name(layer) for layer in layers}
    counts: dict[str, int] = {}
    names = []
    for layer in layers:
        name = given_name(layer)
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
    stem = re.sub(r"\W+", "", type.rpartition(">")[2])
    stem = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", stem)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower() or "layer"
