"""The orders in which jobs may be listed, and where in one a page begins.

Each field has an index that begins with the project, so that every page of a list costs the same, the last like the
first. Jobs that are equal in all fields follow each other as they were created.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import InvalidRequestError, refusal
from gradloom.faults import did_you_mean, shown
from gradloom.jobs.paging import Key
from gradloom.jobs.schema import jobs

_DEFAULT: Final = "create_time desc"
_MOST_CHARACTERS: Final = 200
_TERM: Final = re.compile(r"\s*(\S+?)(\s+desc)?\s*")


@dataclass(frozen=True)
class _Term:
    """One field of an order."""

    name: str
    column: sa.ColumnElement[Any]
    """Never NULL."""
    key_type: type[int] | type[str]
    descends: bool


class JobOrder:
    """An order of jobs; no two jobs are equal in it."""

    def __init__(self, text: str):
        """Takes AIP-132's order_by; raises InvalidRequestError on `order_by`."""
        self._terms = _terms(text or _DEFAULT)

    def __str__(self) -> str:
        """Names the order, for the tokens of its pages."""
        return ", ".join(f"{term.name} desc" if term.descends else term.name for term in self._terms)

    @property
    def key_types(self) -> tuple[type[int] | type[str], ...]:
        """What a job's place in the order is made of."""
        return tuple(term.key_type for term in self._terms)

    def key(self, row: sa.Row[Any]) -> Key:
        """A job's place in the order, of a row that `arranged` selected."""
        return tuple(row._mapping[_label(index)] for index in range(len(self._terms)))

    def arranged(self, selection: sa.Select[Any], after: Key | None) -> sa.Select[Any]:
        """The selection in this order, with each job's key; only what comes after a key when there is one."""
        columns = [term.column.label(_label(index)) for index, term in enumerate(self._terms)]
        arranged = selection.add_columns(*columns).order_by(
            *(term.column.desc() if term.descends else term.column.asc() for term in self._terms)
        )
        return arranged if after is None else arranged.where(self._after(after))

    def _after(self, key: Key) -> sa.ColumnElement[bool]:
        """What holds for every job behind the key."""
        columns = [term.column for term in self._terms]
        if len({term.descends for term in self._terms}) == 1:
            # One comparison of rows, with which the database goes straight to its place in the index.
            here = sa.tuple_(*columns)
            return here < sa.tuple_(*key) if self._terms[0].descends else here > sa.tuple_(*key)
        return sa.or_(
            *(
                sa.and_(*(columns[before] == key[before] for before in range(index)), _beyond(term, key[index]))
                for index, term in enumerate(self._terms)
            )
        )


def _beyond(term: _Term, value: int | str) -> sa.ColumnElement[bool]:
    return term.column < value if term.descends else term.column > value


def _terms(text: str) -> tuple[_Term, ...]:
    if len(text) > _MOST_CHARACTERS:
        raise _refused(f"must be at most {_MOST_CHARACTERS} characters; got {len(text)}")
    terms: dict[str, _Term] = {}
    for part in text.split(","):
        match = _TERM.fullmatch(part)
        if match is None:
            raise _refused(f'must be fields separated by commas, each with " desc" or not; got {shown(part)}')
        name, descends = match[1], match[2] is not None
        if name not in _COLUMNS:
            raise _refused(f"must name {', '.join(_COLUMNS)}; got {shown(name)}{did_you_mean(name, _COLUMNS)}")
        if name in terms:
            raise _refused(f"must name a field once; got {name} twice")
        column, key_type = _COLUMNS[name]
        terms[name] = _Term(name, column, key_type, descends)
    return _until_unique(list(terms.values()))


def _until_unique(terms: Sequence[_Term]) -> tuple[_Term, ...]:
    """The terms up to the first in which no two jobs are equal; the order of creation is added where there is none."""
    place = next((index for index, term in enumerate(terms) if term.name in _UNIQUE), None)
    if place is not None:
        return tuple(terms[: place + 1])
    return (*terms, _Term("create_time", *_COLUMNS["create_time"], descends=terms[-1].descends))


def _label(index: int) -> str:
    return f"order_{index}"


def _refused(description: str) -> InvalidRequestError:
    return refusal("order_by", description)


_COLUMNS: Final[Mapping[str, tuple[sa.ColumnElement[Any], type[int] | type[str]]]] = {
    # Not the time itself: clocks are set back, and then the newest job would stand among older ones.
    "create_time": (jobs.c.sequence, int),
    "update_time": (sa.type_coerce(jobs.c.update_time, sa.BigInteger), int),
    "start_time": (jobs.c.start_order, int),
    "end_time": (jobs.c.end_order, int),
    "priority": (jobs.c.priority, int),
    "display_name": (jobs.c.display_name, str),
    "state": (jobs.c.state, int),
    "job_id": (jobs.c.job_id, str),
}
_UNIQUE: Final = ("create_time", "job_id")
