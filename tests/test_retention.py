"""What stays of a job when it has ended is what its spec says; nothing goes too early, and nothing that is in use."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration

from gradloom.errors import LimitExceededError
from gradloom.faults import Faults
from gradloom.spec.retention import check_retention
from gradloom.v1 import job_pb2, spec_pb2
from tests.housekeeping import House
from tests.stores import a_job

Job = job_pb2.Job


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def a_job_that_keeps(ttl_seconds: float | None = None, **kept: int) -> job_pb2.Job:
    job = a_job()
    job.spec.training.checkpoint.keep = 4
    job.spec.retention.CopyFrom(spec_pb2.RetentionSpec(**kept))
    if ttl_seconds is not None:
        job.spec.retention.ttl_duration.FromNanoseconds(int(ttl_seconds * 1e9))
    return job


def steps_on_record(house: House, uid: str) -> list[int]:
    return [stored.checkpoint.global_step for stored in reversed(house.store.checkpoints_of(uid))]


def steps_on_disk(house: House, uid: str) -> list[int]:
    return sorted(int(path.stem) for path in (house.root / uid).rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("kept", "steps"),
    [
        ({}, [40, 50, 60, 70, 80]),
        ({"keep_last": 1}, [40, 60, 80]),
        ({"keep_last": 0}, [40, 60]),
        ({"keep_last": 0, "keep_best": 1}, [60]),
        ({"keep_last": 2, "keep_best": 1}, [60, 70, 80]),
        ({"keep_last": 0, "keep_best": 0}, []),
        ({"keep_last": 1, "keep_best": 0}, [80]),
        ({"keep_best": 1}, [50, 60, 70, 80]),
        ({"keep_last": 9, "keep_best": 9}, [40, 50, 60, 70, 80]),
    ],
)
def test_the_last_and_the_best_checkpoints_that_are_wanted_stay_and_the_others_go(house, kept, steps):
    attempt = house.run("one", a_job_that_keeps(**kept))
    for step in range(10, 90, 10):
        house.save(attempt, step, best=step in (20, 40, 60))
    house.keeper.tick()
    # The newest four, and 40, the best as of 50.
    assert steps_on_record(house, attempt.uid) == [40, 50, 60, 70, 80]
    house.fail(attempt)
    house.keeper.tick()
    assert steps_on_record(house, attempt.uid) == steps_on_disk(house, attempt.uid) == steps
    assert house.exists("one")


def test_a_checkpoint_of_several_attempts_is_kept_by_the_order_in_which_a_later_one_would_go_on(house):
    first = house.run("one", a_job_that_keeps(keep_last=2))
    house.save(first, 50)
    second = house.desk.again(first)
    house.save(second, 10)
    house.save(second, 20)
    house.fail(second)
    house.keeper.tick()
    assert steps_on_record(house, first.uid) == [10, 20]


def test_checkpoints_that_another_job_may_start_from_go_when_that_one_has_ended(house):
    attempt = house.run("source", a_job_that_keeps(keep_last=0, keep_best=0))
    house.save(attempt, 10)
    user = a_job()
    user.spec.model.initial_weights.job = "source"
    house.desk.submit("user", user)
    house.fail(attempt)
    house.keeper.tick()
    assert steps_on_disk(house, attempt.uid) == [10]
    house.desk.cancel("user")
    house.keeper.tick()
    assert steps_on_record(house, attempt.uid) == steps_on_disk(house, attempt.uid) == []


def test_files_that_a_dead_server_left_are_swept_by_the_next(house):
    attempt = house.run("one", a_job_that_keeps(keep_last=0))
    house.save(attempt, 10)
    house.fail(attempt)
    house.store.settle_job(attempt.uid)
    assert steps_on_record(house, attempt.uid) == []
    assert house.store.unswept_jobs() == [attempt.uid]


def test_a_job_is_deleted_so_long_after_its_end_and_not_before(house):
    attempt = house.run("one", a_job_that_keeps(ttl_seconds=60))
    house.keeper.tick()
    house.seconds += 1000
    house.keeper.tick()
    house.fail(attempt)
    house.keeper.tick()
    house.seconds += 59
    house.keeper.tick()
    assert house.exists("one")
    house.seconds += 1
    house.keeper.tick()
    assert not house.exists("one")
    assert house.rows_of(attempt.uid) == {}
    assert not (house.root / attempt.uid).exists()


def test_time_without_a_server_is_not_counted(house):
    attempt = house.run("one", a_job_that_keeps(ttl_seconds=60))
    house.fail(attempt)
    house.keeper.tick()
    for _ in range(3):
        house.seconds += 19
        house.keeper.tick()
        house.seconds = 5.0 * house.seconds  # As after a restart of the machine: the clock begins anywhere.
        house.serve()
        house.keeper.tick()
        assert house.exists("one")
    house.seconds += 3
    house.keeper.tick()
    assert not house.exists("one")


def test_a_job_in_use_outlives_its_time(house):
    attempt = house.run("source", a_job_that_keeps(ttl_seconds=1))
    house.save(attempt, 10)
    user = a_job()
    user.spec.model.initial_weights.job = "source"
    house.desk.submit("user", user)
    house.fail(attempt)
    house.keeper.tick()
    house.seconds += 100
    house.keeper.tick()
    assert steps_on_disk(house, attempt.uid) == [10]
    house.desk.cancel("user")
    house.keeper.tick()
    assert not house.exists("source")


def test_trouble_with_the_clock_keeps_no_deleted_job_on_the_disk(house, monkeypatch, caplog):
    kept, deleted = house.run("kept", a_job_that_keeps(ttl_seconds=1)), house.run("deleted")
    for attempt in (kept, deleted):
        house.fail(attempt)
    house.desk.delete("deleted")

    def is_full(seconds):
        raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")

    monkeypatch.setattr(house.store, "keep_clock", is_full)
    house.keeper.tick()
    assert house.rows_of(deleted.uid) == {}
    assert "disk is full" in caplog.text


def test_a_job_without_retention_keeps_everything_for_ever(house):
    attempt = house.run("one")
    house.save(attempt, 10, best=True)
    house.save(attempt, 20)
    house.save(attempt, 30)
    house.fail(attempt)
    for _ in range(3):
        house.seconds += 1e9
        house.keeper.tick()
    assert steps_on_record(house, attempt.uid) == [10, 20, 30]
    assert house.exists("one")


def test_a_job_that_cannot_be_settled_waits_a_while_and_holds_back_no_other(house, monkeypatch):
    attempts = [house.run(job_id, a_job_that_keeps(keep_last=0, keep_best=0)) for job_id in ("one", "two")]
    for attempt in attempts:
        house.save(attempt, 10)
        house.fail(attempt)
    stuck, settle, asked = attempts[0].uid, house.store.settle_job, []

    def settle_unless_stuck(uid):
        asked.append(uid)
        if uid == stuck:
            raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")
        settle(uid)

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "settle_job", settle_unless_stuck)
        for _ in range(3):
            house.keeper.tick()
    assert [steps_on_disk(house, attempt.uid) for attempt in attempts] == [[10], []]
    assert asked.count(stuck) == 1
    house.seconds += 31
    house.keeper.tick()
    assert steps_on_disk(house, stuck) == []


def test_a_look_reads_none_of_the_jobs_that_the_housekeeper_has_no_work_with(house):
    house.run("one", a_job_that_keeps(ttl_seconds=60, keep_last=1))
    asked: list[tuple[str, Any]] = []

    def note(connection, cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    for engine in (house.store._database._readers, house.store._database._writer):
        sa.event.listen(engine, "before_cursor_execute", note)
    house.keeper.tick()
    house.store.count_jobs_by_state()
    looks = [(statement, values) for statement, values in asked if " jobs " in statement.replace("\n", " ")]
    assert len(looks) == 7
    connection = sqlite3.connect(house.directory / "gradloom.db")
    for statement, values in looks:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
        ways = {step.partition("INDEX ")[2].partition(" ")[0] for step in plan if re.match("(SCAN|SEARCH) jobs", step)}
        if "GROUP BY" in statement and "deleted" not in statement:
            assert "COVERING INDEX" in plan[0]
        else:
            assert ways <= {"jobs_deleted", "jobs_unsettled", "jobs_to_expire"}, (statement, plan)
    connection.close()


@pytest.mark.parametrize(
    ("seconds", "nanos", "is_fine"),
    [
        (1, 0, True),
        (315_576_000_000, 0, True),
        (0, 999_999_999, False),
        (0, 0, False),
        (-5, 0, False),
        (315_576_000_001, 0, False),
        (2**63 - 1, 0, False),
        (5, 10**9, False),
    ],
)
def test_a_time_to_live_is_a_duration_of_a_second_at_least(seconds, nanos, is_fine):
    faults = Faults()
    retention = spec_pb2.RetentionSpec(ttl_duration=Duration(seconds=seconds, nanos=nanos))
    check_retention(retention, faults)
    assert [fault.field for fault in faults.told()] == ([] if is_fine else ["spec.retention.ttl_duration"])


def test_numbers_of_checkpoints_to_keep_are_not_negative():
    faults = Faults()
    check_retention(spec_pb2.RetentionSpec(keep_last=-1, keep_best=-1), faults)
    assert [fault.field for fault in faults.told()] == ["spec.retention.keep_last", "spec.retention.keep_best"]
