"""Filters of jobs: what they mean, told apart from the database by an oracle, and what they refuse."""

import json
import operator
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.job import ID_PATTERN
from gradloom.jobs.database import Database
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.many_jobs import DISPLAY_NAMES, LABELS, made_up_jobs, put
from tests.stores import after, sqlite_url

Job = job_pb2.Job
Row = dict[str, Any]
Asked = tuple[str, Callable[[Row], bool]]
"""The text of a filter, and what it means of a row."""

ROWS = list(made_up_jobs(120))
COMPARATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(sqlite_url(tmp_path_factory.mktemp("store")))
    put(store, ROWS)
    put(store, list(made_up_jobs(5, seed=1, project="other")))
    yield store
    store.close()


def found(store: Store, text: str) -> set[str]:
    """The ids of the jobs that a filter finds."""
    jobs, token = store.list_jobs("default", 1000, filter_text=text)
    assert not token
    return {job.name.rpartition("/")[2] for job in jobs}


def expected(means: Callable[[Row], bool]) -> set[str]:
    return {row["job_id"] for row in ROWS if means(row)}


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*") + '"'


def value_of(row: Row, field: str) -> Any:
    if field.startswith("labels."):
        return json.loads(row["labels"]).get(field.removeprefix("labels."))
    return row[field]


def asked(field: str, comparator: str, value: Any, text: str) -> Asked:
    compare = COMPARATORS[comparator]

    def means(row: Row) -> bool:
        there, wanted = value_of(row, field), value
        if field == "retry_of" and comparator in ("=", ":", "!=") and ID_PATTERN.fullmatch(value):
            # An id alone is that of a job of the same project.
            wanted = f"projects/{row['project']}/jobs/{value}"
        return there is not None and compare(there, wanted)

    return f"{field} {comparator} {text}", means


def begins(field: str, comparator: str, prefix: str) -> Asked:
    """With `:` and nothing before the star it asks whether the field is there."""

    def means(row: Row) -> bool:
        there = value_of(row, field)
        if comparator == ":" and not prefix:
            return bool(there) or (field.startswith("labels.") and there == "")
        return there is not None and there.startswith(prefix) == (comparator != "!=")

    return f'{field}{comparator}{quoted(prefix)[:-1]}*"', means


ANY = st.sampled_from(list(COMPARATORS))
EQUAL = st.sampled_from(["=", ":", "!="])
TEXTS = st.sampled_from([*DISPLAY_NAMES, *(value for values in LABELS.values() for value in values), "job-1", "x"])
TEXT_FIELDS = st.sampled_from(["display_name", "job_id", "retry_of", *(f"labels.{key}" for key in LABELS)])
TIME_FIELDS = st.sampled_from(["create_time", "update_time", "start_time", "end_time"])


def in_zone(seconds: int, hours: int) -> str:
    """A moment as a clock of another zone shows it."""
    sign = "-" if hours < 0 else "+"
    return (after(seconds) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + f"{sign}{abs(hours):02}:00"


COMPARISONS: st.SearchStrategy[Asked] = st.one_of(
    st.builds(lambda field, how, text: asked(field, how, text, quoted(text)), TEXT_FIELDS, ANY, TEXTS),
    st.builds(
        lambda field, how, text, cut: begins(field, how, text[:cut]), TEXT_FIELDS, EQUAL, TEXTS, st.integers(0, 4)
    ),
    st.builds(
        lambda how, name: asked("state", how, Job.State.Value(name), name), EQUAL, st.sampled_from(Job.State.keys()[1:])
    ),
    st.builds(
        lambda how, name: asked("state_reason", how, Job.Reason.Value(name), f"'{name}'"),
        EQUAL,
        st.sampled_from(Job.Reason.keys()[1:]),
    ),
    st.builds(lambda how, value: asked("priority", how, value, str(value)), ANY, st.sampled_from([-1000, -1, 0, 1, 7])),
    st.builds(
        lambda field, how, seconds, hours: asked(field, how, after(seconds), in_zone(seconds, hours)),
        TIME_FIELDS,
        ANY,
        st.integers(0, 1005),
        st.integers(-11, 11),
    ),
    st.builds(
        lambda field: (f"{field}:*", lambda row: bool(value_of(row, field)) or value_of(row, field) == ""),
        st.sampled_from(["start_time", "end_time", *(f"labels.{key}" for key in LABELS)]),
    ),
    st.builds(
        lambda key: (f"labels:{key}", lambda row: key in json.loads(row["labels"])), st.sampled_from(["team", "no"])
    ),
)


def both(parts: list[Asked], word: str) -> Asked:
    return f"({word.join(text for text, _ in parts)})", lambda row: all(means(row) for _, means in parts)


def either(parts: list[Asked]) -> Asked:
    return f"({' OR '.join(text for text, _ in parts)})", lambda row: any(means(row) for _, means in parts)


def negated(part: Asked, word: str) -> Asked:
    return f"{word}({part[0]})", lambda row: not part[1](row)


def larger(parts: st.SearchStrategy[Asked]) -> st.SearchStrategy[Asked]:
    several = st.lists(parts, min_size=2, max_size=4)
    return st.one_of(
        st.builds(both, several, st.sampled_from([" AND ", " ", "\tAND\n"])),
        st.builds(either, several),
        st.builds(negated, parts, st.sampled_from(["NOT ", "NOT", "-"])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter_and_meaning=st.recursive(COMPARISONS, larger, max_leaves=12))
def test_a_filter_finds_exactly_the_jobs_that_it_describes(store: Store, filter_and_meaning: Asked) -> None:
    text, means = filter_and_meaning
    assert found(store, text) == expected(means)


def test_or_binds_tighter_than_and(store: Store) -> None:
    for text in ("state=QUEUED OR state=FAILED AND priority=7", "priority=7 state=QUEUED OR state=FAILED"):
        assert found(store, text) == expected(
            lambda row: row["state"] in (Job.QUEUED, Job.FAILED) and row["priority"] == 7
        )
    assert found(store, "NOT state=QUEUED OR priority=7") == expected(
        lambda row: row["state"] != Job.QUEUED or row["priority"] == 7
    )


def test_a_job_without_the_label_is_found_by_the_negation_and_not_by_another_value(store: Store) -> None:
    absent = expected(lambda row: "team" not in json.loads(row["labels"]))
    assert absent
    assert not found(store, "labels.team != vision") & absent
    assert absent < found(store, "NOT labels.team = vision")


def test_an_empty_filter_finds_every_job_of_its_project(store: Store) -> None:
    assert found(store, "") == found(store, " \n ") == expected(lambda row: True)


def test_pages_of_a_filter_hold_every_match_and_are_full(store: Store) -> None:
    text, seen, token = "labels.team = vision OR priority > 0", [], ""
    sizes = []
    while True:
        page, token = store.list_jobs("default", 7, token, filter_text=text)
        sizes.append(len(page))
        seen += [job.name.rpartition("/")[2] for job in page]
        if not token:
            break
    assert set(sizes[:-1]) == {7}
    assert len(seen) == len(set(seen))
    assert set(seen) == expected(lambda row: json.loads(row["labels"]).get("team") == "vision" or row["priority"] > 0)


REFUSED = [
    ("state", "at character 6"),
    ("state =", "at character 8"),
    ("state = QUEUED AND", "at character 19"),
    ("AND state=QUEUED", "at character 5"),
    ("state=QUEUED OR OR priority=1", "at character 20"),
    ("(state=QUEUED", "at character 14"),
    ("state=QUEUED)", "at character 13"),
    ("state=QUEUED(priority=1)", "at character 13"),
    ("()", "at character 2"),
    ('display_name = "open', "at character 16"),
    ("display_name = 'a'b", "at character 19"),
    ("state == QUEUED", "at character 8"),
    ("display_name = a*b", '"a*b" at character 16'),
    ('display_name = "*"x', "at character 19"),
    ("priority=1, state=QUEUED", "at character 11"),
    ("labels.=x", "at character 8"),
    ("RUNNING", "at character 8"),
    ("state=running", 'did you mean "RUNNING"? at character 1'),
    ("state < RUNNING", "state has no order"),
    ("priority = 1 statte=RUNNING", 'did you mean "state"? at character 14'),
    ("spec.training.epochs = 3", 'got "spec.training.epochs"'),
    ("priority > high", 'whole number; got "high"'),
    ("priority > 99999999999999999999", "whole number"),
    ("priority = 1*", "whole number"),
    ("create_time > yesterday", "RFC 3339"),
    ("create_time > 2026-13-01T00:00:00Z", "RFC 3339"),
    ("create_time > 2026-11-22T00:00:00", "RFC 3339"),
    ('create_time > "2026-11-22T00:00:00+99:99"', "RFC 3339"),
    ("end_time = 99999-01-01T00:00:00Z", "RFC 3339"),
    ("display_name < abc*", "whole value"),
    ('labels."Team" = x', "key that matches"),
    ('labels."a\'b" = x', "key that matches"),
    ("labels = x", "labels.team = vision"),
    ("labels:te*", "labels.team = vision"),
    ("max(priority) = 1", "at character 4"),
    ("state.name = RUNNING", 'got "state.name"'),
    ("a" * 2001, "at most 2000 characters"),
    ("(" * 21 + "state=QUEUED" + ")" * 21, "at most 20 parentheses; got more at character 21"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_what_is_no_filter_is_refused_with_its_place(store: Store, text: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        store.list_jobs("default", filter_text=text)
    (fault,) = refusal.value.faults
    assert fault.field == "filter"
    assert told in fault.description


def test_every_wrong_comparison_is_told_at_once(store: Store) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        store.list_jobs("default", filter_text="colour=red AND (state=DONE OR NOT priority=low)")
    places = [fault.description.rpartition("at character ")[2] for fault in refusal.value.faults]
    assert places == ["1", "17", "35"]


PIECES = [*"=<>!:\"'\\*().-, %;\0", "AND", "OR", "NOT", "state", "labels", "team", "priority", "1", "create_time"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(PIECES),
            max_size=30,
        ).map("".join),
    )
)
def test_any_text_is_a_filter_or_refused_by_its_field(store: Store, text: str) -> None:
    faults: tuple[FieldFault, ...] = ()
    try:
        store.list_jobs("default", filter_text=text)
    except InvalidRequestError as error:
        faults = error.faults
    assert {fault.field for fault in faults} <= {"filter"}


def test_the_deepest_and_the_longest_filter_are_answered(store: Store) -> None:
    deep = "state=QUEUED"
    for level in range(20):
        deep = f"NOT({deep} {'OR' if level % 2 else 'AND'} priority=7)"
    found(store, deep)
    assert found(store, " ".join(["priority<8"] * 180)) == expected(lambda row: True)
    assert found(store, " OR ".join(["job_id:x"] * 160)) == set()
    assert found(store, "-labels.run:x " * 140) == expected(lambda row: True)


def test_filters_leave_nothing_behind_in_the_servers_memory(tmp_path: Path) -> None:
    store = Store.open(sqlite_url(tmp_path))
    database: Database = store._database
    store.list_jobs("default")
    cache: Any = database._readers._compiled_cache
    before = len(cache)
    for number in range(20):
        store.list_jobs("default", filter_text=" OR ".join(["priority=1"] * (number + 1)))
    assert len(cache) == before
    store.close()
