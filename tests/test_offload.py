"""Changes that come in crowds go to the disk together; each is refused, or stored and told, for itself."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradloom.api.offload import MOST_TOGETHER, Offload
from gradloom.errors import AlreadyExistsError, LimitExceededError
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import a_job, after, name_of, sqlite_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(sqlite_url(tmp_path))
    yield store
    store.close()


class Crowd:
    """An offload whose writer is held up until a crowd waits for it; counts what went to the disk together."""

    def __init__(self, store: Store):
        self.store = store
        self.together = 0
        self.offload = Offload(self._together)

    @contextmanager
    def _together(self) -> Iterator[None]:
        self.together += 1
        with self.store.together():
            yield

    async def all_of(self, *calls: Callable[[], object]) -> list[object]:
        gate = threading.Event()
        held = asyncio.ensure_future(self.offload.write(gate.wait))
        waiting = [asyncio.ensure_future(self.offload.write_together(call)) for call in calls]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await held
        results = await asyncio.gather(*waiting, return_exceptions=True)
        self.offload.close()
        return results

    def creation(self, job_id: str) -> Callable[[], job_pb2.Job]:
        return lambda: self.store.create_job(name_of(job_id), a_job(), None, "", after(0))


async def test_a_crowd_of_changes_is_stored_together_each_with_its_own_result(store: Store) -> None:
    crowd = Crowd(store)
    ids = [f"job-{number}" for number in range(2 * MOST_TOGETHER)]
    results = await crowd.all_of(*(crowd.creation(job_id) for job_id in ids))
    assert results == [store.get_job(name_of(job_id)) for job_id in ids]
    assert crowd.together == 2


async def test_what_is_refused_in_a_crowd_leaves_the_others_stored(store: Store) -> None:
    crowd = Crowd(store)
    results = await crowd.all_of(*(crowd.creation(job_id) for job_id in ("a", "b", "a", "c")))
    assert [type(result) for result in results] == [job_pb2.Job, job_pb2.Job, AlreadyExistsError, job_pb2.Job]
    assert {job.name.rpartition("/")[2] for job in store.list_jobs("default")[0]} == {"a", "b", "c"}
    assert [event.number for event in store.events_after(store.snapshot(name_of("a")).uid, 0)] == [1]


async def test_when_the_database_fails_nothing_of_a_crowd_is_stored_and_everybody_is_told(store: Store) -> None:
    crowd = Crowd(store)

    def full() -> None:
        raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")

    results = await crowd.all_of(crowd.creation("a"), full, crowd.creation("b"))
    assert [type(result) for result in results] == [LimitExceededError] * 3
    assert store.list_jobs("default")[0] == []
    later = Crowd(store)
    assert [type(result) for result in await later.all_of(later.creation("a"))] == [job_pb2.Job]


async def test_watchers_are_told_of_a_crowd_when_it_can_be_seen(store: Store) -> None:
    crowd = Crowd(store)
    seen: list[int] = []
    store.hub.wake_on_any(lambda: seen.append(len(store.list_jobs("default")[0])))
    await crowd.all_of(*(crowd.creation(f"job-{number}") for number in range(20)))
    assert seen == [20] * 20
