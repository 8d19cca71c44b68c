"""Which jobs a filter means, in SQL: the fields that may be asked for, and what each may be compared with.

A comparison with what a job does not have (a label, an end) is false, also with `!=`; its negation is true.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp

from gradloom.faults import Faults, did_you_mean, shown
from gradloom.job import ID_PATTERN, LABEL_KEY
from gradloom.jobs.filter_syntax import AllOf, AnyOf, Comparison, Negation, Node, Value, at, parse
from gradloom.jobs.schema import jobs
from gradloom.v1 import job_pb2

Condition = sa.ColumnElement[bool]

_COMPARATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERINGS: Final = ("<", "<=", ">", ">=")
_LABELS: Final = "labels"
_OFFSET: Final = re.compile(r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$")
"""Of a time from UTC; protobuf takes any two digits."""
_ANYTHING: Final = Value("", is_prefix=True)


def job_condition(text: str) -> Condition | None:
    """What a filter asks of the table of jobs; None when it asks nothing.

    Raises InvalidRequestError on `filter`: with every wrong field and value, or with the first place at which it is no
    filter at all.
    """
    tree = parse(text)
    if tree is None:
        return None
    faults = Faults()
    condition = _condition(tree, faults)
    faults.raise_any()
    return condition


def _condition(node: Node, faults: Faults) -> Condition:
    match node:
        case AllOf(parts):
            return sa.and_(*(_condition(part, faults) for part in parts))
        case AnyOf(parts):
            return sa.or_(*(_condition(part, faults) for part in parts))
        case Negation(of):
            return sa.not_(_condition(of, faults))
        case Comparison():
            try:
                return _compared(node)
            except _WrongError as wrong:
                faults.add("filter", f"{wrong} {at(node.position)}")
                return sa.false()


class _WrongError(Exception):
    """One fault of a comparison; the text says what must be, and what is."""


@dataclass(frozen=True)
class _Field:
    """A field of a job, and what makes its comparisons."""

    column: sa.ColumnElement[Any]
    compare: Callable[[sa.ColumnElement[Any], str, Value], Condition]
    is_there: Condition
    """What `:*` asks."""
    may_be_missing: bool = False


def _compared(comparison: Comparison) -> Condition:
    if comparison.field == (_LABELS,):
        return _has_label(comparison)
    field, value = _field_of(comparison.field), comparison.value
    if comparison.comparator == ":" and value == _ANYTHING:
        return field.is_there
    try:
        condition = field.compare(field.column, comparison.comparator, value)
    except _WrongError as wrong:
        raise _WrongError(f"{'.'.join(comparison.field)} {wrong}") from None
    # SQL makes NULL of a comparison with nothing, and NULL again of its negation.
    return sa.func.coalesce(condition, sa.false()) if field.may_be_missing else condition


def _field_of(parts: tuple[str, ...]) -> _Field:
    head, *rest = parts
    if head == _LABELS:
        label = _label(".".join(rest))
        return _Field(label, _text, label.is_not(None), may_be_missing=True)
    name = ".".join(parts)
    if name not in _FIELDS:
        known = f"one of {', '.join(_FIELDS)}, {_LABELS}.<key>"
        raise _WrongError(f"must name {known}; got {shown(name)}{did_you_mean(name, _FIELDS)}")
    return _FIELDS[name]


def _has_label(comparison: Comparison) -> Condition:
    """`labels:team` for a job that has this label, `labels:*` for one that has any."""
    value = comparison.value
    if comparison.comparator != ":" or (value.is_prefix and value.text):
        raise _WrongError(
            f"{_LABELS} must be asked for one label (labels.team = vision), or whether it is there "
            f"(labels:team); got {_LABELS} {comparison.comparator} {_shown(value)}"
        )
    return jobs.c.labels != "{}" if value == _ANYTHING else _label(value.text).is_not(None)


def _label(key: str) -> sa.ColumnElement[Any]:
    if not LABEL_KEY.fullmatch(key):
        raise _WrongError(f"{_LABELS} must be followed by a key that matches {LABEL_KEY.pattern}; got {shown(key)}")
    label: sa.ColumnElement[Any] = sa.type_coerce(jobs.c.labels, sa.JSON)[key].as_string()
    return label


def _text(column: sa.ColumnElement[Any], comparator: str, value: Value) -> Condition:
    """Texts, in the order of their code points."""
    if not value.is_prefix:
        return _ordered(column, comparator, value.text)
    if comparator in _ORDERINGS:
        raise _WrongError(f"must be compared with a whole value by {comparator}; got {_shown(value)}")
    # Not LIKE: in SQLite it takes small letters for capital ones.
    begins = sa.func.substr(column, 1, len(value.text)) == value.text
    return sa.not_(begins) if comparator == "!=" else begins


def _job(column: sa.ColumnElement[Any], comparator: str, value: Value) -> Condition:
    """Names of jobs; an id alone is that of a job of the same project."""
    if value.is_prefix or comparator in _ORDERINGS or not ID_PATTERN.fullmatch(value.text):
        return _text(column, comparator, value)
    return _ordered(column, comparator, sa.literal("projects/") + jobs.c.project + f"/jobs/{value.text}")


def _number(column: sa.ColumnElement[Any], comparator: str, value: Value) -> Condition:
    if value.is_prefix or not re.fullmatch("-?[0-9]{1,9}", value.text):
        raise _WrongError(f"must be compared with a whole number; got {_shown(value)}")
    return _ordered(column, comparator, int(value.text))


def _time(column: sa.ColumnElement[Any], comparator: str, value: Value) -> Condition:
    """Times to the microsecond, as they are kept."""
    stamp = Timestamp()
    try:
        if value.is_prefix or not _OFFSET.search(value.text):
            raise ValueError
        stamp.FromJsonString(value.text)
        time = stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        rule = "must be compared with a time of RFC 3339 such as 2026-11-22T06:30:00Z"
        raise _WrongError(f"{rule}; got {_shown(value)}") from None
    return _ordered(column, comparator, time)


def _one_of(names: Mapping[str, int]) -> Callable[[sa.ColumnElement[Any], str, Value], Condition]:
    """Comparisons with the names of an enum, which have no order."""

    def compare(column: sa.ColumnElement[Any], comparator: str, value: Value) -> Condition:
        if comparator in _ORDERINGS:
            raise _WrongError(f"has no order and must be compared by =, != or :; got {comparator}")
        if value.is_prefix or value.text not in names:
            close = did_you_mean(value.text, names)
            raise _WrongError(f"must be compared with one of {', '.join(names)}; got {_shown(value)}{close}")
        return _ordered(column, comparator, names[value.text])

    return compare


def _ordered(column: sa.ColumnElement[Any], comparator: str, value: Any) -> Condition:
    condition: Condition = _COMPARATORS[comparator](column, value)
    return condition


def _shown(value: Value) -> str:
    return shown(value.text + "*" * value.is_prefix)


def _names(enum: Any) -> dict[str, int]:
    """The names of an enum with their numbers, without the one that means none."""
    return {name: number for name, number in enum.items() if number}


_FIELDS: Final[Mapping[str, _Field]] = {
    "state": _Field(jobs.c.state, _one_of(_names(job_pb2.Job.State)), jobs.c.state != 0),
    "state_reason": _Field(jobs.c.state_reason, _one_of(_names(job_pb2.Job.Reason)), jobs.c.state_reason != 0),
    "display_name": _Field(jobs.c.display_name, _text, jobs.c.display_name != ""),
    "job_id": _Field(jobs.c.job_id, _text, jobs.c.job_id != ""),
    "priority": _Field(jobs.c.priority, _number, jobs.c.priority.is_not(None)),
    "retry_of": _Field(jobs.c.retry_of, _job, jobs.c.retry_of != ""),
    "create_time": _Field(jobs.c.create_time, _time, jobs.c.create_time.is_not(None)),
    "update_time": _Field(jobs.c.update_time, _time, jobs.c.update_time.is_not(None)),
    "start_time": _Field(jobs.c.start_time, _time, jobs.c.start_time.is_not(None), may_be_missing=True),
    "end_time": _Field(jobs.c.end_time, _time, jobs.c.end_time.is_not(None), may_be_missing=True),
}
