"""Text to plain values: JSON, and YAML 1.2 with its core schema; bounded, so that no text costs more than its size.

YAML is read from ruamel's events, not with its constructors: those build Python objects for tags, turn dates into
objects, recurse once per level and expand aliases without a bound.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gradloom.errors import InvalidRequestError, refusal
from gradloom.faults import WHOLE, Faults, child, shown

MAX_TEXT_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 200_000
"""Values of a document after its aliases are expanded."""

Plain = Any
"""None, bool, int, float, str, list[Plain] or dict[str | int, Plain]; JSON has no keys but strings."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER: Final = frozenset({".nan", ".NaN", ".NAN"})
_MAX_NUMBER_CHARACTERS: Final = 400
_CORE_TAGS: Final = ("null", "bool", "int", "float", "str")


def read_text(text: str, faults: Faults) -> Plain:
    """Reads one JSON or YAML 1.2 document; notes duplicate keys and unknown tags in `faults`.

    Raises InvalidRequestError when the text is too large, nested too deeply, or no YAML: with the place where it stops
    being YAML.
    """
    size = len(text.encode("utf-8", errors="surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise _refusal(f"must be at most {MAX_TEXT_BYTES} bytes; got {size}")
    if text.lstrip().startswith("{"):
        plain = _read_json(text)
        if plain is not None:
            return plain
    return _read_yaml(text, faults)


def _refusal(description: str) -> InvalidRequestError:
    return refusal(WHOLE, description)


class _DuplicateKeyError(ValueError):
    pass


def _read_json(text: str) -> Plain:
    """The document, or None when it is not JSON, or only JSON with faults that the YAML reader tells better."""

    def mapping(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise _DuplicateKeyError
        return result

    try:
        plain = json.loads(text, object_pairs_hook=mapping)
    except (ValueError, RecursionError):
        return None
    return plain if _depth(plain) <= MAX_DEPTH else None


def _depth(plain: Plain) -> int:
    deepest, pending = 0, [(plain, 1)]
    while pending:
        value, depth = pending.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict | list):
            pending.extend((entry, depth + 1) for entry in (value.values() if isinstance(value, dict) else value))
    return deepest


@dataclass
class _Open:
    """A list or mapping whose end has not been read."""

    value: list[Plain] | dict[str | int, Plain]
    path: str
    anchor: str | None
    key: str | int | None = None
    values: int = 1
    awaits_value: bool = False

    def next_path(self) -> str:
        if isinstance(self.value, list):
            return child(self.path, len(self.value))
        return child(self.path, self.key) if self.awaits_value and self.key is not None else self.path


@dataclass
class _Reader:
    """Builds plain values from YAML events, without recursion."""

    faults: Faults
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Plain, int]] = field(default_factory=dict)
    result: list[Plain] = field(default_factory=list)

    def open(self, value: list[Plain] | dict[str | int, Plain], event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise _refusal(
                f"must be nested at most {MAX_DEPTH} levels deep; line {event.start_mark.line + 1} is deeper"
            )
        path = self.stack[-1].next_path() if self.stack else ""
        if event.tag is not None and _core_tag(event.tag) not in ("seq", "map", "!"):
            self.faults.add(path, f"has the tag {shown(str(event.tag))}: tags other than YAML's core ones are refused")
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(value, path, event.anchor))

    def close(self) -> None:
        closed = self.stack.pop()
        self.add(closed.value, closed.values, closed.anchor, line=None)

    def add(self, value: Plain, values: int, anchor: str | None, line: int | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = (value, values)
        if not self.stack:
            self.result.append(value)
            return
        parent = self.stack[-1]
        parent.values += values
        if parent.values > MAX_VALUES:
            raise _refusal(
                f"must hold at most {MAX_VALUES} values, aliases expanded; {parent.path or 'the document'} holds more"
            )
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.awaits_value:
            if parent.key is not None:
                parent.value[parent.key] = value
            parent.awaits_value = False
        else:
            self._take_key(parent, value, line)

    def _take_key(self, parent: _Open, key: Plain, line: int | None) -> None:
        assert isinstance(parent.value, dict)
        parent.awaits_value = True
        parent.key = None
        # Whether a number may be a key is for the message to say.
        if isinstance(key, bool) or not isinstance(key, str | int):
            self.faults.add(parent.path, f"has the key {shown(key)}: every key must be a string")
        elif key in parent.value:
            self.faults.add(child(parent.path, key), f"is given twice{f', again in line {line}' if line else ''}")
        else:
            parent.key = key

    def alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise _refusal(f"line {line}: the alias {shown('*' + str(event.anchor))} has no anchor that ends before it")
        value, values = self.anchors[event.anchor]
        self.add(value, values, None, line)

    def scalar(self, event: Any) -> None:
        path = self.stack[-1].next_path() if self.stack else ""
        tag = None if event.tag is None else _core_tag(event.tag)
        value: Plain
        if tag is None:
            value = _plain_scalar(event.value) if event.implicit[0] else event.value
        elif tag in ("str", "!"):
            value = event.value
        elif tag in _CORE_TAGS:
            value = _plain_scalar(event.value)
            if tag != {type(None): "null", bool: "bool", int: "int", float: "float"}.get(type(value)):
                if tag == "float" and type(value) is int:
                    value = float(value)
                else:
                    self.faults.add(path, f"must be of type {tag}, as its tag says; got {shown(event.value)}")
        else:
            self.faults.add(path, f"has the tag {shown(str(event.tag))}: tags other than YAML's core ones are refused")
            value = event.value
        self.add(value, 1, event.anchor, event.start_mark.line + 1)


def _core_tag(tag: Any) -> str:
    """`int` for `tag:yaml.org,2002:int`; other tags as they are. Newer ruamel hands out a Tag object."""
    return str(tag).removeprefix("tag:yaml.org,2002:").removeprefix("!!")


def _plain_scalar(text: str) -> Plain:
    """A plain scalar by YAML 1.2's core schema: `1e-4` is a number; `on`, `no` and `2026-01-01` are strings."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if infinite := _INFINITY.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    return math.nan if text in _NOT_A_NUMBER else text


def _events(text: str) -> Iterator[Any]:
    # Imported here: a server that gets its jobs as messages never reads YAML.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _refusal(f"is not YAML: {place}{error.problem or error.context}") from error
    except YAMLError as error:
        raise _refusal(f"is not YAML: {shown(str(error))}") from error


def _read_yaml(text: str, faults: Faults) -> Plain:
    from ruamel.yaml import events

    reader = _Reader(faults)
    for event in _events(text):
        match event:
            case events.ScalarEvent():
                reader.scalar(event)
            case events.AliasEvent():
                reader.alias(event)
            case events.MappingStartEvent():
                reader.open({}, event)
            case events.SequenceStartEvent():
                reader.open([], event)
            case events.MappingEndEvent() | events.SequenceEndEvent():
                reader.close()
            case events.DocumentStartEvent() if reader.result:
                raise _refusal(f"must be one document; a second one starts in line {event.start_mark.line + 1}")
    return reader.result[0] if reader.result else None
