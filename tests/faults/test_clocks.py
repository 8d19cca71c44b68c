"""A wall clock that jumps by years, forwards and backwards: it is shown, and decides nothing."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gradloom.v1 import job_pb2
from tests.stores import Desk, a_job, after, completed, name_of, report
from tests.test_scheduler import World

Job = job_pb2.Job
YEARS = 20


@dataclass
class JumpingDesk(Desk):
    """A clock that is somewhere else at every look."""

    draw: random.Random = field(default_factory=lambda: random.Random(11))

    def now(self) -> datetime:
        return after(0) + timedelta(days=self.draw.uniform(-365, 365) * YEARS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.desk = JumpingDesk(made.store)
    yield made
    made.close()


def test_jobs_are_claimed_in_the_order_in_which_they_came(world: World) -> None:
    names = [f"job-{number}" for number in range(8)]
    for name in names:
        world.desk.create(name)
    claimed: list[str] = []
    while len(claimed) < len(names):
        world.tick()
        for attempt in world.store.live_attempts():
            claimed.append(attempt.name.job_id)
            world.store.record_report(attempt.uid, 1, report(1), world.desk.now())
            world.store.finish_attempt(attempt.uid, 1, completed(1), world.desk.now())
            world.tick_until(lambda job_id=attempt.name.job_id: world.state(job_id) == "SUCCEEDED")
    assert claimed == names


def test_nothing_that_trains_is_ended_and_the_numbers_of_its_events_go_up(world: World) -> None:
    world.desk.create("a")
    for beat in range(1, 50):
        world.tick()
        world.store.record_report(world.job("a").uid, 1, report(beat), world.desk.now())
    assert world.state("a") == "RUNNING"
    assert len(world.living()) == 1
    events = world.store.events_after(world.job("a").uid, 0)
    assert [event.number for event in events] == [1, 2, 3]
    assert [job.name for job in world.store.list_jobs("default")[0]] == [str(name_of("a"))]


def test_waits_are_never_told_as_less_than_nothing(world: World) -> None:
    for number in range(6):
        world.desk.create(f"job-{number}")
        world.tick()
        world.desk.cancel(f"job-{number}")
        world.tick_until(lambda number=number: world.state(f"job-{number}") == "CANCELLED")
    waited = world.instruments.registry.get_sample_value("gradloom_queue_wait_seconds_sum")
    assert waited is not None
    assert waited >= 0


def test_a_request_that_is_made_again_is_answered_as_before(world: World) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    first = [
        world.store.create_job(name_of(f"job-{number}"), a_job(), request_id, "digest", world.desk.now())
        for number, request_id in enumerate(ids)
    ]
    again = [
        world.store.create_job(name_of(f"job-{number}"), a_job(), request_id, "digest", world.desk.now())
        for number, request_id in enumerate(ids)
    ]
    assert again == first
