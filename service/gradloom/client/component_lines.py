"""What a spec may name, as lines for people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gradloom.client import text
from gradloom.client.names import enum_name
from gradloom.v1 import service_pb2

_INDENT: Final = "  "


def component_table(components: Iterable[service_pb2.ComponentInfo]) -> list[str]:
    """One line a component."""
    rows = ((component.type, kind_name(component), component.doc) for component in components)
    return text.columns(("TYPE", "KIND", "DOC"), rows)


def kind_name(component: service_pb2.ComponentInfo) -> str:
    """`layer` for a layer."""
    return enum_name(service_pb2.ComponentInfo.Kind, component.kind).lower()


def component_lines(component: service_pb2.ComponentInfo) -> Iterator[str]:
    """One component with what its `config` may hold."""
    yield f"{text.one_line(component.type)} ({kind_name(component)})"
    if component.doc:
        yield f"{_INDENT}{text.one_line(component.doc)}"
    if component.HasField("dataset"):
        yield from _dataset_lines(component.dataset)
    if component.parameters:
        yield ""
        rows = (
            (
                parameter.name,
                _value_type(parameter),
                "required" if parameter.required else _literal(parameter.default_value, parameter.value_type),
            )
            for parameter in component.parameters
        )
        yield from text.columns(("CONFIG KEY", "TYPE", "DEFAULT"), rows)


def _dataset_lines(dataset: service_pb2.DatasetInfo) -> Iterator[str]:
    shape = "x".join(str(length) for length in dataset.feature_shape)
    splits: Mapping[str, int] = dataset.splits
    yield f"{_INDENT}features  {shape} {text.one_line(dataset.feature_dtype)}"
    classes = f", {dataset.classes} classes" if dataset.classes else ""
    yield f"{_INDENT}labels    {text.one_line(dataset.label_dtype)}{classes}"
    for split, examples in sorted(splits.items(), reverse=True):
        yield f"{_INDENT}{text.one_line(split):<9} {examples:,} examples"


def _value_type(parameter: service_pb2.ComponentParameter) -> str:
    """`int`; `initializer` for a component; `list of layer`, `float or schedule`."""
    if not parameter.component_kind:
        return parameter.value_type
    kind = enum_name(service_pb2.ComponentInfo.Kind, parameter.component_kind).lower()
    joined = {"component": "", "list": "list of "}
    return joined.get(parameter.value_type, f"{parameter.value_type} or ") + kind


def _literal(value: Any, value_type: str) -> str:
    """A google.protobuf.Value as it would be written in a spec."""
    import json

    from google.protobuf import json_format

    plain = json_format.MessageToDict(value)
    return json.dumps(plain if value_type == "float" else _with_whole_numbers(plain), ensure_ascii=False)


def _with_whole_numbers(value: Any) -> Any:
    """The wire has one type of number: 64 comes as 64.0."""
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
