"""Ranges of single fields, and the depth of configs."""

import math
from typing import Any

from google.protobuf import struct_pb2

from gradloom.documents.messages import MAX_STRUCT_DEPTH
from gradloom.faults import Faults, child, shown
from gradloom.v1 import spec_pb2


def between(message: Any, name: str, least: int, most: int | None, path: str, faults: Faults) -> None:
    """Checks an optional integer field, if it is set."""
    if not message.HasField(name):
        return
    value = getattr(message, name)
    if value < least or (most is not None and value > most):
        rule = f"must be at least {least}" if most is None else f"must lie between {least} and {most}"
        faults.add(child(path, name), f"{rule}; got {value}")


def above_zero(message: Any, name: str, path: str, faults: Faults) -> None:
    """Checks an optional double field, if it is set."""
    if message.HasField(name):
        value = getattr(message, name)
        if not (math.isfinite(value) and value > 0):
            faults.add(child(path, name), f"must be a finite number above 0; got {shown(value)}")


def is_nested_too_deeply(spec: spec_pb2.JobSpec, faults: Faults) -> bool:
    """Notes every config that is nested more deeply than a message on the wire can be; those are not to be walked."""
    configs = [(child("spec.model.layers", i), layer.config) for i, layer in enumerate(spec.model.layers)]
    configs.append(("spec.loss", spec.loss.config))
    configs.extend((child("spec.metrics", i), metric.config) for i, metric in enumerate(spec.metrics))
    for i, group in enumerate(spec.variable_groups):
        field = child("spec.variable_groups", i)
        configs.extend(
            [(f"{field}.optimizer", group.optimizer.config), (f"{field}.learning_rate", group.learning_rate.config)]
        )
    found = False
    for field, config in configs:
        if _is_deep(config):
            faults.add(child(field, "config"), f"must be nested at most {MAX_STRUCT_DEPTH} levels deep")
            found = True
    return found


def _is_deep(config: struct_pb2.Struct) -> bool:
    pending = [(value, 1) for value in config.fields.values()]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_STRUCT_DEPTH + 1:
            return True
        match value.WhichOneof("kind"):
            case "struct_value":
                pending.extend((entry, depth + 1) for entry in value.struct_value.fields.values())
            case "list_value":
                pending.extend((entry, depth + 1) for entry in value.list_value.values)
    return False
