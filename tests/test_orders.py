"""Orders of lists: every page in its place, by an oracle that sorts, and no page dearer than the first."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from gradloom.errors import InvalidRequestError
from gradloom.jobs.orders import JobOrder
from gradloom.jobs.queries import BASIC, with_view
from gradloom.jobs.schema import jobs
from gradloom.jobs.store import Store
from tests.many_jobs import made_up_jobs, put
from tests.stores import after, sqlite_url

ROWS = list(made_up_jobs(150))
ORDERS = [
    "create_time",
    "create_time desc",
    "update_time",
    "update_time desc",
    "start_time",
    "start_time desc",
    "end_time",
    "end_time desc",
    "priority",
    "priority desc",
    "display_name",
    "display_name desc",
    "state",
    "state desc",
    "job_id",
    "job_id desc",
]
MIXED = [
    "priority desc, end_time",
    "state,display_name desc , job_id",
    "  start_time desc,create_time",
    "state, create_time desc",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(sqlite_url(tmp_path_factory.mktemp("store")))
    put(store, ROWS)
    yield store
    store.close()


def sorted_ids(order_by: str) -> list[str]:
    """What the order means: the last field decides least, and creation decides between equals."""
    ordered = list(enumerate(ROWS))
    terms = [part.split() for part in order_by.split(",")]
    if terms[-1][-1] == "desc":
        ordered.reverse()
    for name, *desc in reversed(terms):
        ordered.sort(key=lambda numbered: _key(*numbered, name), reverse=bool(desc))
    return [row["job_id"] for _, row in ordered]


def _key(number: int, row: dict[str, Any], name: str) -> Any:
    if name == "create_time":
        return number
    return after(-1e9) if row[name] is None else row[name]


def listed(store: Store, order_by: str, page_size: int, **fields: Any) -> list[str]:
    ids, token = [], ""
    while True:
        page, token = store.list_jobs("default", page_size, token, order_by=order_by, **fields)
        ids += [job.name.rpartition("/")[2] for job in page]
        if not token:
            return ids


@pytest.mark.parametrize("order_by", ORDERS + MIXED)
def test_the_pages_of_an_order_hold_every_job_once_in_its_place(store: Store, order_by: str) -> None:
    assert listed(store, order_by, 7) == sorted_ids(order_by)


def test_a_filter_keeps_the_order(store: Store) -> None:
    first = {row["job_id"] for row in ROWS if row["priority"] == 7}
    in_order = [job_id for job_id in sorted_ids("end_time desc") if job_id in first]
    assert listed(store, "end_time desc", 4, filter_text="priority = 7") == in_order


@pytest.mark.parametrize("order_by", ORDERS)
def test_no_page_of_an_order_sorts_or_starts_at_the_beginning(store: Store, order_by: str) -> None:
    order = JobOrder(order_by)
    key = tuple("m" if kind is str else 5 for kind in order.key_types)
    selection = order.arranged(with_view(BASIC), key).where(jobs.c.project == "default", ~jobs.c.deleted).limit(51)
    statement = selection.compile(dialect=store._database._readers.dialect, compile_kwargs={"literal_binds": True})
    with store._database.read() as connection:
        explained = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}")).all()
    # Of the selection itself: what looks for a job's newest checkpoint has a parent.
    plan = [row.detail for row in explained if row.parent == 0]
    assert not any("TEMP B-TREE" in step for step in plan), plan
    search = next(step for step in plan if "SEARCH jobs" in step)
    assert search.count("<") + search.count(">") == 1, plan


@pytest.mark.parametrize(
    ("order_by", "told"),
    [
        ("colour", 'got "colour"'),
        ("create_tim", 'did you mean "create_time"?'),
        ("state asc", 'got "state asc"'),
        ("state desc desc", "separated by commas"),
        ("state,", 'got ""'),
        (",", 'got ""'),
        ("state, state desc", "state twice"),
        ("state; DROP TABLE jobs", "separated by commas"),
        ("labels.team", 'got "labels.team"'),
        ("x" * 201, "at most 200 characters"),
    ],
)
def test_what_is_no_order_is_refused(store: Store, order_by: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        store.list_jobs("default", order_by=order_by)
    (fault,) = refusal.value.faults
    assert fault.field == "order_by"
    assert told in fault.description


def test_a_token_is_good_for_its_own_filter_and_order_alone(store: Store) -> None:
    _, token = store.list_jobs("default", 1, filter_text="priority < 8", order_by="state desc")
    store.list_jobs("default", 1, token, filter_text="priority < 8", order_by=" state  desc ")
    for filter_text, order_by in (("priority < 9", "state desc"), ("priority < 8", "state"), ("", "")):
        with pytest.raises(InvalidRequestError) as refusal:
            store.list_jobs("default", 1, token, filter_text=filter_text, order_by=order_by)
        assert refusal.value.faults[0].field == "page_token"
