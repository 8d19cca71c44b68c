"""How two messages of one type differ, field by field."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message

from gradloom.documents import is_map, is_repeated
from gradloom.faults import child, shown

_UNSET: Final = "unset"


class Difference(NamedTuple):
    """One field in which they differ, and what it holds as people are shown it."""

    path: str
    before: str
    now: str


Label = Callable[[Message, int], str | int]
"""What an entry of a list is called in a path, given its position."""


def by_position(entry: Message, position: int) -> int:
    """As in a path that a request may name."""
    return position


def differences(
    before: Message,
    now: Message,
    path: str = "",
    names: Collection[str] | None = None,
    label: Label = by_position,
) -> Iterator[Difference]:
    """Every difference, as deep as messages of ours, mappings, and lists of one length go.

    Args:
        before: The one.
        now: The other one.
        path: That of both.
        names: Of the fields that are compared. Default: all.
        label: Of what is in lists.
    """
    for field in before.DESCRIPTOR.fields:
        if names is None or field.name in names:
            yield from _of_field(before, now, field, child(path, field.name), label)


def _of_field(before: Message, now: Message, field: Any, path: str, label: Label) -> Iterator[Difference]:
    old, new = getattr(before, field.name), getattr(now, field.name)
    is_set = [is_repeated(field) or not field.has_presence or one.HasField(field.name) for one in (before, now)]
    if old == new and is_set[0] == is_set[1]:
        return
    is_ours = field.message_type is not None and field.message_type.file.package.startswith("gradloom.")
    if isinstance(old, struct_pb2.Struct):
        yield from _of_mappings(json_format.MessageToDict(old), json_format.MessageToDict(new), path, label)
    elif is_map(field):
        yield from _of_mappings(old, new, path, label)
    elif is_ours and not is_repeated(field) and all(is_set):
        yield from differences(old, new, path, label=label)
    elif is_ours and is_repeated(field) and len(old) == len(new):
        for position, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, child(path, label(one, position)), label=label)
    else:
        values = zip((old, new), is_set, strict=True)
        yield Difference(path, *(_shown(field, one) if is_there else _UNSET for one, is_there in values))


def _of_mappings(old: Mapping[Any, Any], new: Mapping[Any, Any], path: str, label: Label) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        if key in old and key in new and isinstance(old[key], Message):
            yield from differences(old[key], new[key], child(path, key), label=label)
        elif key not in old or key not in new or old[key] != new[key]:
            values = (_shown_value(one[key]) if key in one else _UNSET for one in (old, new))
            yield Difference(child(path, key), *values)


def _shown(field: Any, value: Any) -> str:
    if is_repeated(field):
        return f"{len(value)} of them" if field.message_type is not None else shown(list(value))
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return _shown_value(value)


def _shown_value(value: Any) -> str:
    return "another one" if isinstance(value, Message) else shown(value)
