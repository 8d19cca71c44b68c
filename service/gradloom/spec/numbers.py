"""The one place where a config of the wire becomes Python values: numbers there are doubles, here ints and floats."""

from typing import Any

from google.protobuf import struct_pb2

from gradloom.catalogue import Catalogue, Entry, Parameter


def struct_to_config(struct: struct_pb2.Struct, entry: Entry | None) -> dict[str, Any]:
    """The config as Python values.

    An integral number becomes an int, or a float where the catalogue says that the parameter is a float, in nested
    components by their own entries. Without an entry every integral number becomes an int.
    """
    parameters = entry.by_name if entry is not None else {}
    return {key: from_value(value, parameters.get(key)) for key, value in struct.fields.items()}


def from_value(value: struct_pb2.Value, parameter: Parameter | None) -> Any:
    """One value of a config; see struct_to_config."""
    return typed(_plain(value), parameter)


def typed(value: Any, parameter: Parameter | None) -> Any:
    """The value with every number a float, also within lists, where the parameter is one of floats; nested ones too."""
    if parameter is None:
        return value
    if parameter.component_kind is not None and isinstance(value, dict):
        return _typed_component(value, parameter.component_kind)
    if parameter.component_kind is not None and isinstance(value, list):
        return [typed(entry, parameter) for entry in value]
    return _floats(value) if parameter.floats else value


def _typed_component(value: dict[str, Any], kind: str) -> dict[str, Any]:
    config = value.get("config")
    name = value.get("type", value.get("class_name"))
    if not isinstance(config, dict) or not isinstance(name, str):
        return value
    entry = Catalogue.load().get(kind, name)
    if entry is None and kind == "activation":
        # An activation may be a layer with parameters, such as LeakyReLU.
        entry = Catalogue.load().get("layer", name)
    parameters = entry.by_name if entry is not None else {}
    return {**value, "config": {key: typed(nested, parameters.get(key)) for key, nested in config.items()}}


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "string_value":
            return value.string_value
        case "list_value":
            return [_plain(entry) for entry in value.list_value.values]
        case "struct_value":
            return {key: _plain(entry) for key, entry in value.struct_value.fields.items()}
    return None
