"""Trouble with one job holds back no other, and what is due all at once takes a part of each tick."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gradloom.errors import LimitExceededError
from gradloom.jobs.deadlines import LOOK_SECONDS, MOST_ENDED
from gradloom.jobs.devices import Devices
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stage import Stage
from tests.stores import name_of

Job = job_pb2.Job


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, Devices((), 2))
    yield made
    made.store.close()


def refuse(patch: pytest.MonkeyPatch, store: Store, method: str, uid: str) -> None:
    """Has the disk be full for what a method would write of one job."""
    write = getattr(store, method)

    def refused(first: str, *arguments: Any, **named: Any) -> Any:
        if first == uid:
            raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")
        return write(first, *arguments, **named)

    patch.setattr(store, method, refused)


def test_a_claim_that_cannot_be_stored_holds_back_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage.submit("first")
    stage.submit("second")
    with monkeypatch.context() as patch:
        refuse(patch, stage.store, "claim", first.uid)
        stage.tick()
        assert stage.states() == {"first": "QUEUED", "second": "STARTING"}
    stage.tick()
    assert stage.states() == {"first": "STARTING", "second": "STARTING"}


def test_a_preemption_that_cannot_be_stored_holds_back_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {job_id: stage.submit(job_id, preemptible=True) for job_id in ("one", "two")}
    stage.tick()
    for job_id in ("high", "higher"):
        stage.submit(job_id, priority=1)
    # The youngest is the first to make room.
    refuse(monkeypatch, stage.store, "mark_stopping", held["two"].uid)
    stage.tick()
    assert stage.attempt("one").stopping_reason == Job.PREEMPTED
    assert not stage.attempt("two").stopping_reason


def test_an_attempt_over_its_limit_that_cannot_be_stopped_holds_back_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {job_id: stage.submit(job_id, max_run=10.0) for job_id in ("one", "two")}
    stage.tick()
    refuse(monkeypatch, stage.store, "mark_stopping", late["one"].uid)
    stage.tick(14.0)
    assert stage.states() == {"one": "STARTING", "two": "FAILED"}


@pytest.mark.parametrize("method", ["count_down", "backoffs", "queue_seconds_left", "fail_waiting", "renew_leases"])
def test_limits_and_leases_that_cannot_be_kept_hold_back_no_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def full(*_: object) -> None:
        raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")

    for job_id in ("one", "two", "late"):
        stage.submit(job_id, **({"max_queue": 5.0} if job_id == "late" else {"max_run": 300.0}))
    stage.tick()
    monkeypatch.setattr(stage.store, method, full)
    stage.serve()
    stage.tick(20.0)
    stage.desk.cancel("one")
    stage.submit("high", priority=1)
    stage.tick(1.0)
    assert stage.states()["high"] == "STARTING"


def test_a_job_deleted_while_its_limit_is_looked_at_holds_back_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in ("one", "two"):
        stage.submit(job_id)
    stage.tick()
    gone = stage.submit("gone", max_queue=10.0).uid
    stage.submit("late", max_queue=10.0)
    look = stage.store.queue_seconds_left

    def look_while_it_goes() -> dict[str, float]:
        found = look()
        if stage.clock.seconds >= 1011.0 and "gone" in stage.states():
            stage.desk.delete("gone", force=True)
            stage.store.forget_job(gone)
        return found

    monkeypatch.setattr(stage.store, "queue_seconds_left", look_while_it_goes)
    stage.tick(12.0)
    assert stage.states() == {"one": "STARTING", "two": "STARTING", "late": "FAILED"}


def test_many_limits_that_end_at_once_end_a_part_at_a_time_each_part_in_one_commit(stage: Stage) -> None:
    for number in range(2 * MOST_ENDED + 1):
        stage.submit(f"job-{number}", gpus=1, max_queue=10.0)
    stage.tick()
    stage.clock.seconds += 11.0
    commits: list[object] = []
    sa.event.listen(stage.store._database._writer, "commit", commits.append)
    left = []
    for _ in range(3):
        stage.tick()
        stage.clock.seconds += LOOK_SECONDS
        left.append(stage.store.count_jobs_by_state()[Job.QUEUED])
    assert left == [MOST_ENDED + 1, 1, 0]
    # The other is that of what is left of their limits.
    assert len(commits) <= 2 * len(left)
    assert stage.job("job-0").state_message == "waited for devices for 10 s, its spec.scheduling.max_queue_duration"
    finished = stage.instruments.registry.get_sample_value(
        "gradloom_jobs_finished_total", {"state": "FAILED", "reason": "QUEUE_DEADLINE_EXCEEDED"}
    )
    assert finished == 2 * MOST_ENDED + 1


def test_many_backoffs_that_end_at_once_end_a_part_at_a_time(stage: Stage) -> None:
    uids = [stage.submit(f"job-{number}", gpus=1).uid for number in range(MOST_ENDED + 1)]
    with stage.store._database.write() as connection:
        connection.execute(sa.text("UPDATE jobs SET backoff_seconds = 10"))
    stage.tick()
    stage.clock.seconds += 11.0
    stage.tick()
    assert len(stage.store.queued_jobs()) == MOST_ENDED
    stage.clock.seconds += LOOK_SECONDS
    stage.tick()
    assert {job.uid for job in stage.store.queued_jobs()} == set(uids)


def test_a_job_whose_files_cannot_be_swept_at_the_start_holds_back_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = []
    for job_id in ("one", "two"):
        uids.append(stage.submit(job_id).uid)
        stage.tick()
        with monkeypatch.context() as patch:
            refuse(patch, stage.store, "mark_swept", uids[-1])
            stage.end(job_id, exit_code=1)
            stage.desk.cancel(job_id)
            stage.tick()
    assert stage.store.unswept_jobs() == uids
    refuse(monkeypatch, stage.store, "mark_swept", uids[0])
    stage.serve()
    assert stage.store.unswept_jobs() == uids[:1]
    assert stage.store.get_job(name_of("two")).state == Job.CANCELLED
