"""ListComponents: pages of the catalogue."""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import json_format, struct_pb2

from gradloom.catalogue import Catalogue, Entry, Parameter
from gradloom.errors import refusal
from gradloom.jobs.paging import effective_page_size, read_token, write_token
from gradloom.v1 import service_pb2

Kind: Final = service_pb2.ComponentInfo.Kind


def list_components(
    catalogue: Catalogue, request: service_pb2.ListComponentsRequest
) -> service_pb2.ListComponentsResponse:
    """A page of the entries by kind and type."""
    if request.kind not in Kind.values():
        raise refusal("kind", f"must be one of {', '.join(Kind.keys()[1:])}; got {request.kind}")
    query = f"components/{request.kind}/{request.type}"
    size = effective_page_size(request.page_size)
    after = read_token(request.page_token, query, (int, str))
    wanted = _wanted(catalogue, request)
    if after is not None:
        wanted = [entry for entry in wanted if _position(entry) > after]
    page = wanted[:size]
    more = len(wanted) > len(page)
    return service_pb2.ListComponentsResponse(
        components=[_info(entry) for entry in page],
        next_page_token=write_token(query, *_position(page[-1])) if more else "",
    )


def _wanted(catalogue: Catalogue, request: service_pb2.ListComponentsRequest) -> list[Entry]:
    kind = Kind.Name(request.kind).lower() if request.kind else None
    entries: Iterable[Entry] = catalogue.entries(kind)
    if request.type:
        entries = (entry for entry in entries if request.type in (entry.type, *entry.aliases))
    return sorted(entries, key=_position)


def _position(entry: Entry) -> tuple[int, str]:
    """Kinds in the order of their numbers."""
    return Kind.Value(entry.kind.upper()), entry.type


def _info(entry: Entry) -> service_pb2.ComponentInfo:
    info = service_pb2.ComponentInfo(
        type=entry.type,
        kind=entry.kind.upper(),
        doc=entry.doc,
        parameters=[_parameter(parameter) for parameter in entry.parameters],
    )
    if entry.dataset is not None:
        info.dataset.CopyFrom(
            service_pb2.DatasetInfo(
                feature_shape=entry.dataset.feature_shape,
                feature_dtype=entry.dataset.feature_dtype,
                label_dtype=entry.dataset.label_dtype,
                classes=entry.dataset.classes,
                splits=entry.dataset.splits,
            )
        )
    return info


def _parameter(parameter: Parameter) -> service_pb2.ComponentParameter:
    info = service_pb2.ComponentParameter(
        name=parameter.name,
        value_type=parameter.value_type,
        required=parameter.required,
        component_kind=parameter.component_kind and parameter.component_kind.upper(),
    )
    if not parameter.required:
        info.default_value.CopyFrom(_value(parameter.default))
    return info


def _value(value: Any) -> struct_pb2.Value:
    return json_format.ParseDict(value, struct_pb2.Value())
