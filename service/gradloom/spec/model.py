"""Rules of `spec.model`: the layers, how they are connected, and `keras_config`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradloom.faults import Faults, child, shown
from gradloom.spec.components import MAX_INTEGER, NAME_PATTERN, NAME_RULE, ComponentChecker
from gradloom.spec.defaults import given_name, layer_names
from gradloom.spec.keras_config import MAX_MODEL_LAYERS, check_keras_config
from gradloom.spec.numbers import struct_to_config
from gradloom.v1 import spec_pb2

FIELD: Final = "spec.model"
INPUT_TYPES: Final = ("Input", "InputLayer")


def check_model(model: spec_pb2.ModelSpec, checker: ComponentChecker) -> None:
    """Checks the model's name and its layers or its configuration."""
    faults = checker.faults
    if model.HasField("name") and not NAME_PATTERN.fullmatch(model.name):
        faults.add(f"{FIELD}.name", f"{NAME_RULE}; got {shown(model.name)}")
    if model.layers and model.HasField("keras_config"):
        faults.add(FIELD, "must be given by layers or by keras_config, not by both")
    elif model.HasField("keras_config"):
        check_keras_config(model.keras_config, checker, f"{FIELD}.keras_config")
        if model.outputs:
            faults.add(f"{FIELD}.outputs", "must be left out with keras_config, which has its own")
    elif not model.layers:
        faults.add(f"{FIELD}.layers", "must hold a layer at least, or the model be given by keras_config")
    elif len(model.layers) > MAX_MODEL_LAYERS:
        faults.add(f"{FIELD}.layers", f"must be at most {MAX_MODEL_LAYERS}; got {len(model.layers)}")
    else:
        _check_layers(model.layers, checker)
        _check_graph(model, faults)


def _check_layers(layers: Sequence[spec_pb2.LayerSpec], checker: ComponentChecker) -> None:
    faults = checker.faults
    seen: set[str] = set()
    for position, layer in enumerate(layers):
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
            check_name_in_config(config, layer.name, f"{field}.config", faults)
        if layer.type in INPUT_TYPES:
            _check_input(layer, position, field, checker)
        elif position == 0:
            faults.add(field, f"must be an Input: it is the first layer; got {shown(layer.type)}")


def check_name_in_config(config: Mapping[str, Any], name: str, field: str, faults: Faults) -> None:
    """Checks a name that is given, as `get_config` does, among the constructor's arguments."""
    given = config.get("name")
    if isinstance(given, str) and name and given != name:
        faults.add(
            f"{field}.name", f"must be the component's name or be left out; got {shown(given)} and {shown(name)}"
        )


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


def _check_graph(model: spec_pb2.ModelSpec, faults: Faults) -> None:
    """Every input names an earlier layer, and every layer leads to the output."""
    names = layer_names(model.layers)
    positions: dict[str, int] = {}
    feeds: list[list[int]] = []
    sound = True
    for position, layer in enumerate(model.layers):
        field = child(f"{FIELD}.layers", position)
        sources = []
        is_input = layer.type in INPUT_TYPES
        # Told as faults of the Input itself.
        sound = sound and not (is_input and (position > 0 or layer.inputs))
        for i, source in enumerate(() if is_input else layer.inputs):
            if source in positions:
                sources.append(positions[source])
            else:
                where = "comes later" if source in names else "is not a layer"
                hint = faults.did_you_mean(source, list(positions))
                faults.add(f"{field}.inputs[{i}]", f"must name a layer before this one; {shown(source)} {where}{hint}")
                sound = False
        if not layer.inputs and position > 0 and not is_input:
            sources = [position - 1]
        feeds.append(sources)
        # Told as a fault of the name: which of the two an input means is not known.
        sound = sound and names[position] not in positions
        positions.setdefault(names[position], position)
    if len(model.outputs) > 1:
        faults.add(f"{FIELD}.outputs", f"must be exactly one; got {len(model.outputs)}")
        return
    output = model.outputs[0] if model.outputs else names[-1]
    if output not in positions:
        hint = faults.did_you_mean(output, names)
        faults.add(f"{FIELD}.outputs[0]", f"must name a layer; got {shown(output)}{hint}")
    elif sound:
        _check_reached(names, feeds, positions[output], faults)


def _check_reached(names: Sequence[str], feeds: Sequence[Sequence[int]], output: int, faults: Faults) -> None:
    reached = {output}
    pending = [output]
    while pending:
        for source in feeds[pending.pop()]:
            if source not in reached:
                reached.add(source)
                pending.append(source)
    for position, name in enumerate(names):
        if position not in reached:
            field = child(f"{FIELD}.layers", position)
            faults.add(field, f"must lead to the output, {shown(names[output])}; {shown(name)} does not")
