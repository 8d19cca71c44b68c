"""Ranges of single fields, known numbers of enums, and the depth of configs."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Final

from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.message import Message

from gradloom.documents import is_map
from gradloom.documents.messages import MAX_STRUCT_DEPTH
from gradloom.faults import Faults, child, shown
from gradloom.v1 import spec_pb2

_Path = tuple[str | int, ...]

MAX_PATTERNS: Final = 200
MAX_PATTERN_CHARACTERS: Final = 300
_NESTING_TAGS: Final = (b"\x2a", b"\x32")
"""Each struct or list within a config is written behind one of these: `struct_value` and `list_value` of a Value."""
MAX_DURATION_SECONDS: Final = 315_576_000_000
"""What a Duration can hold: about ten thousand years."""


def between(message: Any, name: str, least: float, most: float | None, path: str, faults: Faults) -> None:
    """Checks an optional number, if it is set."""
    if not message.HasField(name):
        return
    value = getattr(message, name)
    # The other way round NaN would pass.
    if not (value >= least and value <= (math.inf if most is None else most) and math.isfinite(value)):
        rule = f"must be at least {least}" if most is None else f"must lie between {least} and {most}"
        faults.add(child(path, name), f"{rule}; got {shown(value)}")


def seconds_of(duration: duration_pb2.Duration) -> float:
    """The duration, also one that the wire should not hold, in seconds."""
    return duration.seconds + duration.nanos / 1e9


def duration_between(message: Any, name: str, least: float, most: float | None, path: str, faults: Faults) -> bool:
    """Checks a duration, if it is set, by its seconds; tells whether it is sound."""
    if not message.HasField(name):
        return True
    duration = getattr(message, name)
    seconds, highest = seconds_of(duration), MAX_DURATION_SECONDS if most is None else most
    if abs(duration.nanos) >= 1_000_000_000 or duration.seconds * duration.nanos < 0:
        got = f"got {duration.seconds} and {duration.nanos}"
        faults.add(child(path, name), f"must have nanos below a second, with the sign of its seconds; {got}")
    elif not least <= seconds <= highest:
        is_short = most is None and seconds < least
        rule = f"must be at least {least:g}s" if is_short else f"must lie between {least:g}s and {highest:.12g}s"
        faults.add(child(path, name), f"{rule}; got {seconds:.12g}s")
    else:
        return True
    return False


def above_zero(message: Any, name: str, path: str, faults: Faults) -> None:
    """Checks an optional double field, if it is set."""
    if message.HasField(name):
        value = getattr(message, name)
        if not (math.isfinite(value) and value > 0):
            faults.add(child(path, name), f"must be a finite number above 0; got {shown(value)}")


def at_least_zero(value: float, path: str, faults: Faults) -> None:
    """Checks a double."""
    if not (math.isfinite(value) and value >= 0):
        faults.add(path, f"must be a finite number of at least 0; got {shown(value)}")


def within_zero_and_one(message: Any, name: str, path: str, faults: Faults) -> None:
    """Checks an optional double field, if it is set; neither end is within."""
    if message.HasField(name) and not 0 < getattr(message, name) < 1:
        faults.add(child(path, name), f"must lie above 0 and below 1; got {shown(getattr(message, name))}")


def known_number(enum: Any, number: int, path: str, faults: Faults) -> bool:
    """Checks a number of an enum, which on the wire may be any; `UNSPECIFIED` is never sent."""
    if number in enum.values() and number != 0:
        return True
    names = ", ".join(enum.Name(known) for known in enum.values() if known != 0)
    faults.add(path, f"must be one of {names}; got {number}")
    return False


def check_patterns(patterns: Sequence[str], path: str, faults: Faults) -> None:
    """Checks how many patterns over variable paths there are, and the length of each."""
    if len(patterns) > MAX_PATTERNS:
        faults.add(path, f"must be at most {MAX_PATTERNS}; got {len(patterns)}")
        return
    for position, pattern in enumerate(patterns):
        if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
            rule = f"must be 1 to {MAX_PATTERN_CHARACTERS} characters"
            faults.add(child(path, position), f"{rule}; got {shown(pattern)}")


def is_nested_too_deeply(spec: spec_pb2.JobSpec, faults: Faults) -> bool:
    """Notes every config that is nested more deeply than a message on the wire can be; those are not to be walked."""
    written = spec.SerializeToString()
    if sum(written.count(tag) for tag in _NESTING_TAGS) <= MAX_STRUCT_DEPTH:
        return False
    deep = [path for path, config in _configs(spec, ("spec",)) if _is_deep(config)]
    for path in deep:
        faults.add(reduce(child, path, ""), f"must be nested at most {MAX_STRUCT_DEPTH} levels deep")
    return bool(deep)


def _configs(message: Message, path: _Path) -> Iterator[tuple[_Path, struct_pb2.Struct]]:
    """Every config below a message with its path, in the order of the fields."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        below = (*path, field.name)
        if isinstance(value, struct_pb2.Struct):
            yield below, value
        elif isinstance(value, Message):
            yield from _configs(value, below)
        else:
            for key, entry in sorted(value.items()) if is_map(field) else enumerate(value):
                if isinstance(entry, Message):
                    yield from _configs(entry, (*below, key))


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
