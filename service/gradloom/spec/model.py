"""Rules of `spec.model`: its layers, its builder or its `keras_config`, and the weights it starts from."""

from collections.abc import Mapping
from typing import Any

from gradloom.faults import Faults, child, shown
from gradloom.spec.components import MAX_INTEGER, NAME_PATTERN, NAME_RULE, ComponentChecker
from gradloom.spec.defaults import DEFAULT_MODEL_NAME, given_name
from gradloom.spec.graph import FIELD, INPUT_TYPES, check_graph
from gradloom.spec.keras_config import MAX_MODEL_LAYERS, check_keras_config
from gradloom.spec.limits import check_patterns
from gradloom.spec.numbers import struct_to_config
from gradloom.v1 import spec_pb2


def check_model(model: spec_pb2.ModelSpec, checker: ComponentChecker) -> None:
    """Checks the model's name, what it is made of, and the weights it starts from."""
    faults = checker.faults
    if model.HasField("name") and not NAME_PATTERN.fullmatch(model.name):
        faults.add(f"{FIELD}.name", f"{NAME_RULE}; got {shown(model.name)}")
    ways = {"layers": bool(model.layers)} | {name: model.HasField(name) for name in ("keras_config", "builder")}
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        faults.add(FIELD, f"must be given in one way: layers, builder or keras_config; got {' and '.join(given)}")
    elif not given:
        faults.add(f"{FIELD}.layers", "must hold a layer at least, or the model be given by builder or keras_config")
    elif given == ["layers"]:
        _check_layers(model, checker)
    else:
        if model.outputs:
            faults.add(f"{FIELD}.outputs", f"must be left out with {given[0]}, which has its own")
        if given == ["builder"]:
            _check_builder(model, checker)
        else:
            check_keras_config(model.keras_config, checker, f"{FIELD}.keras_config")
    if model.HasField("initial_weights"):
        if not model.initial_weights.job:
            faults.add(f"{FIELD}.initial_weights.job", "is required: the job whose weights this one starts from")
        check_patterns(model.initial_weights.match, f"{FIELD}.initial_weights.match", faults)


def _check_builder(model: spec_pb2.ModelSpec, checker: ComponentChecker) -> None:
    field = f"{FIELD}.builder"
    if model.builder.HasField("name"):
        checker.faults.add(f"{field}.name", f"must be left out: {FIELD}.name is the model's name")
        return
    _, config = checker.component("model", model.builder, field)
    checker.name_in_config(config, model.name or DEFAULT_MODEL_NAME, f"{field}.config")


def _check_layers(model: spec_pb2.ModelSpec, checker: ComponentChecker) -> None:
    faults = checker.faults
    if len(model.layers) > MAX_MODEL_LAYERS:
        faults.add(f"{FIELD}.layers", f"must be at most {MAX_MODEL_LAYERS}; got {len(model.layers)}")
        return
    seen: set[str] = set()
    for position, layer in enumerate(model.layers):
        field = child(f"{FIELD}.layers", position)
        name = given_name(layer)
        if layer.HasField("name") and not NAME_PATTERN.fullmatch(layer.name):
            faults.add(f"{field}.name", f"{NAME_RULE}; got {shown(layer.name)}")
        elif name and name in seen:
            faults.add(f"{field}.name", f"must be a name of its own; {shown(name)} is taken")
        seen.add(name)
        entry = checker.entry("layer", layer.type, f"{field}.type")
        if entry is not None:
            config = struct_to_config(layer.config, entry)
            checker.config(entry, config, f"{field}.config")
            checker.name_in_config(config, layer.name, f"{field}.config")
        if layer.type in INPUT_TYPES:
            _check_input(layer, position, field, checker)
        elif position == 0:
            faults.add(field, f"must be an Input: it is the first layer; got {shown(layer.type)}")
    check_graph(model, faults)


def _check_input(layer: spec_pb2.LayerSpec, position: int, field: str, checker: ComponentChecker) -> None:
    faults = checker.faults
    if position != 0:
        faults.add(field, "must be the only Input: a data source has one array of features")
    if layer.inputs:
        faults.add(f"{field}.inputs", "must be left out: data feed an Input")
    config = struct_to_config(layer.config, None)
    for key in ("sparse", "ragged", "optional"):
        if config.get(key):
            faults.add(f"{field}.config.{key}", f"must be false: data are dense arrays; got {shown(config[key])}")
    if config.get("batch_size") is not None:
        faults.add(f"{field}.config.batch_size", f"must be left out: batches vary; got {shown(config['batch_size'])}")
    if isinstance(config.get("dtype"), str):
        checker.dtype(config["dtype"], f"{field}.config.dtype")
    _check_shape(config, f"{field}.config", faults)


def _check_shape(config: Mapping[str, Any], field: str, faults: Faults) -> None:
    shape, key = config.get("shape"), "shape"
    if config.get("batch_shape") is not None:
        batch_shape, key = config["batch_shape"], "batch_shape"
        if shape is not None:
            faults.add(f"{field}.shape", "must be left out where batch_shape is given")
        if not isinstance(batch_shape, list) or not batch_shape or batch_shape[0] is not None:
            faults.add(f"{field}.batch_shape", f"must begin with null: batches vary; got {shown(batch_shape)}")
            return
        shape = batch_shape[1:]
    if not isinstance(shape, list):
        if shape is None:
            faults.add(f"{field}.shape", "is required: the shape of one example, such as [28, 28, 1]")
        return
    for axis, size in enumerate(shape):
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size is not None and not (whole and 1 <= size <= MAX_INTEGER):
            faults.add(
                f"{field}.{key}[{axis + (key == 'batch_shape')}]",
                f"must be an integer of at least 1, or null for an axis of any size; got {shown(size)}",
            )
