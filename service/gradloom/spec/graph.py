"""Rules of how layers are connected: names of layers and of their outputs, and what leads where."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gradloom.faults import Faults, child, shown
from gradloom.spec.defaults import layer_names
from gradloom.v1 import spec_pb2

FIELD: Final = "spec.model"
INPUT_TYPES: Final = ("Input", "InputLayer")

REFERENCE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,63})(?::(0|[1-9][0-9]{0,3}))?")
"""A layer's output: the layer's name, and which one of several."""
REFERENCE_RULE: Final = "must match [A-Za-z][A-Za-z0-9_]{0,63}(:(0|[1-9][0-9]{0,3}))?"


def check_graph(model: spec_pb2.ModelSpec, faults: Faults) -> None:
    """Every input names an earlier layer, and every layer leads to an output."""
    names = layer_names(model.layers)
    positions: dict[str, int] = {}
    feeds: list[list[int]] = []
    sound = True
    for position, layer in enumerate(model.layers):
        sources = []
        is_input, inputs = layer.type in INPUT_TYPES, layer.inputs
        # Told as faults of the Input itself.
        sound = sound and not (is_input and (position > 0 or inputs))
        for i, reference in enumerate(() if is_input else inputs):
            source = layer_of(reference)
            if source in positions:
                sources.append(positions[source])
            else:
                where = "comes later" if source in names else "is not a layer"
                hint = faults.did_you_mean(reference, list(positions))
                told = f"must name a layer before this one; {shown(reference)} {where}{hint}"
                faults.add(f"{child(f'{FIELD}.layers', position)}.inputs[{i}]", told)
                sound = False
        if not inputs and position > 0 and not is_input:
            sources = [position - 1]
        feeds.append(sources)
        # Told as a fault of the name: which of the two an input means is not known.
        sound = sound and names[position] not in positions
        positions.setdefault(names[position], position)
    outputs = _outputs(model, names, positions, faults)
    if sound and outputs is not None:
        _check_reached(names, feeds, outputs, faults)


def layer_of(reference: str) -> str:
    """The layer whose output a reference such as `multi:1` names."""
    match = REFERENCE.fullmatch(reference)
    return match[1] if match else reference


def _outputs(
    model: spec_pb2.ModelSpec, names: Sequence[str], positions: Mapping[str, int], faults: Faults
) -> list[int] | None:
    """The positions of the layers that give the model's outputs; None after noting a fault."""
    if not model.outputs:
        return [len(names) - 1]
    found: dict[tuple[str, str], str] = {}
    noted = len(faults)
    for i, reference in enumerate(model.outputs):
        field = child(f"{FIELD}.outputs", i)
        name, _, index = reference.partition(":")
        if layer_of(reference) not in positions:
            hint = faults.did_you_mean(reference, names)
            faults.add(field, f"must name a layer; got {shown(reference)}{hint}")
        elif (name, index or "0") in found:
            faults.add(field, f"must be named once only; {shown(found[name, index or '0'])} is there already")
        found.setdefault((name, index or "0"), reference)
    return [positions[layer_of(reference)] for reference in model.outputs] if len(faults) == noted else None


def _check_reached(
    names: Sequence[str], feeds: Sequence[Sequence[int]], outputs: Sequence[int], faults: Faults
) -> None:
    reached = set(outputs)
    pending = list(reached)
    while pending:
        for source in feeds[pending.pop()]:
            if source not in reached:
                reached.add(source)
                pending.append(source)
    if len(reached) == len(names):
        return
    ends = ", ".join(shown(names[output]) for output in dict.fromkeys(outputs))
    where = f"the output, {ends}" if len(outputs) == 1 else f"an output: {ends}"
    for position, name in enumerate(names):
        if position not in reached:
            faults.add(child(f"{FIELD}.layers", position), f"must lead to {where}; {shown(name)} does not")
