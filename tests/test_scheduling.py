"""Priorities, preemption, reservations, limits, backoff and silence: hours that take no time, over the real store."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import MAX_UNCOUNTED_ATTEMPTS
from gradloom.jobs.devices import Devices
from gradloom.jobs.queue import Holder, Waiting, plan
from gradloom.jobs.records import QueuedJob
from gradloom.jobs.store import Store
from gradloom.jobs.timing import Timing
from gradloom.v1 import job_pb2
from tests.many_jobs import made_up_jobs, put
from tests.stage import Stage
from tests.stores import completed

Job = job_pb2.Job
Directive = attempt_pb2.ReportResponse
Open = Callable[..., Stage]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a stage with so many GPUs, or one CPU slot."""
    stages = []

    def make(gpus: int = 0, **timing: float) -> Stage:
        stages.append(
            Stage(
                tmp_path, Devices(tuple(map(str, range(gpus))), 1), Timing(**{"report_timeout_seconds": 1e9, **timing})
            )
        )
        return stages[-1]

    yield make
    for stage in stages:
        stage.store.close()


@pytest.fixture
def stage(opened: Open) -> Stage:
    return opened()


# Priority and reservations


def test_devices_go_to_the_highest_priority_and_among_equals_to_the_oldest_job(stage: Stage) -> None:
    for job_id, priority in (("running", 0), ("low", -5), ("old", 0), ("young", 0), ("high", 5)):
        stage.submit(job_id, priority)
        stage.tick()
    order = []
    for _ in range(5):
        (live,) = stage.store.live_attempts()
        order.append(live.name.job_id)
        stage.end(live.name.job_id, exit_code=0)
        stage.desk.cancel(live.name.job_id)
        stage.tick()
    assert order == ["running", "high", "old", "young", "low"]


def test_a_big_job_is_overtaken_until_it_has_been_blocked_for_the_time_of_the_reservation(opened: Open) -> None:
    stage = opened(gpus=2, reservation_seconds=60.0)
    stage.submit("first", gpus=1)
    stage.tick()
    stage.submit("big", gpus=2)
    stage.tick(30.0)
    stage.submit("small", gpus=1)
    stage.tick()
    assert stage.states() == {"first": "STARTING", "big": "QUEUED", "small": "STARTING"}
    stage.tick(31.0)
    stage.desk.cancel("small")
    stage.submit("late", gpus=1)
    stage.tick(100.0)
    assert stage.states()["late"] == "QUEUED", "what is free is held back"
    stage.desk.cancel("first")
    stage.tick(1.0)
    assert (stage.states()["big"], stage.states()["late"]) == ("STARTING", "QUEUED")


# Preemption


def test_a_job_of_a_higher_priority_has_a_preemptible_one_save_and_takes_its_device(stage: Stage) -> None:
    stage.submit("low", preemptible=True)
    stage.tick()
    stage.report("low")
    stage.submit("high", priority=1)
    stage.tick()
    assert stage.report("low") == Directive.CHECKPOINT_AND_STOP
    stage.tick(30.0)
    assert stage.trainers.stopped == [], "it has a while to save"
    stage.end("low", exit_code=0)
    stage.tick()
    assert stage.states() == {"low": "QUEUED", "high": "STARTING"}
    (attempt,), _ = stage.store.list_attempts(stage.attempt("low").name)
    assert (Job.Reason.Name(attempt.reason), attempt.counted) == ("PREEMPTED", False)
    assert attempt.message == "made room for projects/default/jobs/high, whose priority is 1, not 0"
    stage.desk.cancel("high")
    stage.tick(1.0)
    assert stage.states()["low"] == "STARTING"
    assert stage.attempt("low").number == 2


def test_a_preempted_attempt_that_does_not_save_in_time_is_stopped(opened: Open) -> None:
    stage = opened(save_seconds=60.0)
    stage.submit("low", preemptible=True)
    stage.tick()
    stage.report("low")
    stage.submit("high", priority=1)
    stage.tick(59.0)
    assert stage.trainers.stopped == []
    stage.tick(3.0)
    assert stage.states() == {"low": "QUEUED", "high": "STARTING"}


@pytest.mark.parametrize(("preemptible", "priority"), [(False, 5), (True, 0)])
def test_nobody_is_preempted_who_does_not_allow_it_or_is_of_the_same_priority(
    stage: Stage, preemptible: bool, priority: int
) -> None:
    stage.submit("first", preemptible=preemptible)
    stage.tick()
    stage.submit("second", priority=priority)
    stage.tick(100.0)
    assert stage.states() == {"first": "STARTING", "second": "QUEUED"}


def test_a_completed_export_wins_over_a_preemption(stage: Stage) -> None:
    stage.submit("low", preemptible=True)
    stage.tick()
    stage.report("low")
    stage.submit("high", priority=1)
    stage.tick()
    low = stage.attempt("low")
    stage.store.finish_attempt(low.uid, low.number, completed(1), stage.desk.now())
    stage.end("low", exit_code=0)
    stage.tick()
    assert stage.states() == {"low": "SUCCEEDED", "high": "STARTING"}


def test_a_device_that_was_freed_for_a_job_is_not_given_to_a_later_one(opened: Open) -> None:
    stage = opened(gpus=2)
    for job_id in ("one", "two"):
        stage.submit(job_id, gpus=1, preemptible=True)
    stage.tick()
    for job_id in ("one", "two"):
        stage.report(job_id)
    stage.submit("big", priority=1, gpus=2)
    stage.submit("small", gpus=1)
    stage.tick()
    stage.end("one", exit_code=0)
    stage.tick()
    assert stage.states() == {"one": "QUEUED", "two": "RUNNING", "big": "QUEUED", "small": "QUEUED"}
    stage.end("two", exit_code=0)
    stage.tick()
    assert stage.states()["big"] == "STARTING"


# Backoff and limits


def fail(stage: Stage, job_id: str) -> None:
    stage.tick(1.0)
    stage.end(job_id, exit_code=1)
    stage.tick()


def test_each_attempt_after_one_that_counts_waits_twice_as_long(stage: Stage) -> None:
    stage.submit("a", first_backoff=10.0)
    fail(stage, "a")
    stage.tick(9.0)
    assert stage.states()["a"] == "QUEUED"
    stage.tick(1.5)
    assert stage.states()["a"] == "STARTING"
    fail(stage, "a")
    stage.tick(19.0)
    assert stage.states()["a"] == "QUEUED"
    stage.tick(1.5)
    assert stage.states()["a"] == "STARTING"
    assert stage.reasons("a") == ["TRAINER_EXITED", "TRAINER_EXITED", "REASON_UNSPECIFIED"]


def test_a_job_that_backs_off_keeps_nobody_waiting_and_goes_on_after_a_restart(stage: Stage) -> None:
    stage.submit("a", first_backoff=60.0)
    fail(stage, "a")
    stage.submit("b")
    stage.tick(40.0)
    assert stage.states() == {"a": "QUEUED", "b": "STARTING"}
    stage.desk.cancel("b")
    stage.serve()
    stage.tick(15.0)
    assert stage.states()["a"] == "QUEUED"
    stage.tick(15.0)
    assert stage.states()["a"] == "STARTING"


def test_an_attempt_that_does_not_count_is_followed_by_the_next_at_once(stage: Stage) -> None:
    stage.submit("a", first_backoff=60.0)
    stage.tick()
    stage.end("a", stopped=True)
    stage.tick()
    assert stage.reasons("a") == ["TRAINER_LOST", "REASON_UNSPECIFIED"]


def test_what_the_machine_cannot_start_uses_up_no_attempt_and_waits_longer_each_time(stage: Stage) -> None:
    stage.trainers.refusal = "no process can be made"
    stage.submit("a", first_backoff=10.0)
    stage.tick()
    stage.submit("b")
    stage.trainers.refusal = ""
    stage.tick(9.0)
    assert stage.states() == {"a": "QUEUED", "b": "STARTING"}
    stage.desk.cancel("b")
    stage.tick(3.0)
    assert stage.reasons("a") == ["LAUNCH_FAILED", "REASON_UNSPECIFIED"]
    assert stage.attempt("a").counted_attempts == 0


def test_a_job_that_can_never_be_started_fails_at_last_and_says_why(stage: Stage) -> None:
    stage.trainers.refusal = "no process can be made"
    stage.submit("a")
    stage.tick(MAX_UNCOUNTED_ATTEMPTS * stage.timing.launch_pause_seconds)
    job = stage.job("a")
    assert (Job.State.Name(job.state), Job.Reason.Name(job.state_reason)) == ("FAILED", "LAUNCH_FAILED")
    assert job.state_message.startswith("could not be started: no process can be made (20 attempts")
    assert job.attempt_count == MAX_UNCOUNTED_ATTEMPTS


def test_a_job_may_hold_devices_for_its_limit_over_all_attempts_and_restarts(stage: Stage) -> None:
    stage.submit("a", max_run=100.0)
    stage.tick(40.0)
    stage.end("a", exit_code=1)
    stage.tick(10.0)
    stage.serve()
    stage.tick(45.0)
    assert stage.states()["a"] == "STARTING"
    stage.tick(20.0)
    job = stage.job("a")
    assert (Job.State.Name(job.state), Job.Reason.Name(job.state_reason)) == ("FAILED", "DEADLINE_EXCEEDED")
    assert job.state_message == "held devices for 100 s, its spec.scheduling.max_run_duration"
    assert stage.reasons("a") == ["TRAINER_EXITED", "DEADLINE_EXCEEDED"]


def test_time_in_the_queue_and_after_the_devices_are_released_is_no_run_time(stage: Stage) -> None:
    stage.submit("first")
    stage.tick()
    stage.submit("a", max_run=30.0)
    stage.tick(100.0)
    stage.desk.cancel("first")
    stage.tick(20.0)
    a = stage.attempt("a")
    released = attempt_pb2.ReportRequest(beat=1, devices_released=True)
    stage.store.record_report(a.uid, a.number, released, stage.desk.now())
    stage.tick(100.0)
    assert stage.reasons("a") == ["REASON_UNSPECIFIED"]


def test_a_job_that_waits_too_long_for_its_first_attempt_fails_and_says_so(stage: Stage) -> None:
    stage.submit("first")
    stage.tick()
    stage.submit("a", max_queue=30.0)
    stage.tick(20.0)
    stage.serve()
    stage.tick(9.0)
    assert stage.states()["a"] == "QUEUED"
    stage.tick(11.0)
    job = stage.job("a")
    assert (Job.State.Name(job.state), Job.Reason.Name(job.state_reason)) == ("FAILED", "QUEUE_DEADLINE_EXCEEDED")
    assert job.state_message == "waited for devices for 30 s, its spec.scheduling.max_queue_duration"
    assert job.error.message == job.state_message
    assert job.attempt_count == 0


def test_a_job_that_had_its_first_attempt_may_wait_for_the_next_without_limit(stage: Stage) -> None:
    stage.submit("a", max_queue=30.0)
    stage.tick()
    stage.end("a", exit_code=1)
    stage.submit("b", priority=1)
    stage.tick(100.0)
    assert stage.states() == {"a": "QUEUED", "b": "STARTING"}


# Silence


def test_a_trainer_that_is_silent_for_too_long_is_ended_and_its_attempt_counts(opened: Open) -> None:
    stage = opened(report_timeout_seconds=120.0)
    stage.submit("a")
    stage.tick()
    for _ in range(5):
        stage.tick(100.0)
        stage.report("a")
    stage.tick(119.0)
    assert stage.reasons("a") == ["REASON_UNSPECIFIED"]
    stage.tick(4.0)
    assert stage.reasons("a") == ["TRAINER_SILENT", "REASON_UNSPECIFIED"]
    assert stage.attempt("a").counted_attempts == 1


def test_a_trainer_that_is_never_heard_is_ended_too(opened: Open) -> None:
    stage = opened(report_timeout_seconds=120.0)
    stage.submit("a")
    stage.tick(124.0)
    assert stage.reasons("a")[0] == "TRAINER_SILENT"


# Long queues


def test_the_first_few_jobs_of_each_demand_make_the_plan_of_the_whole_queue(opened: Open) -> None:
    stage = opened(gpus=3)
    draw = random.Random(4)
    for number in range(60):
        stage.submit(f"job-{number}", draw.randrange(3), gpus=draw.randint(1, 3))
    few, whole = stage.store.queued_jobs(limit=len(stage.devices.names)), stage.store.queued_jobs()
    assert (len(few), len(whole)) == (12, 60)
    for _ in range(200):
        holders, free = [], list(stage.devices.names)
        while free and draw.random() < 0.8:
            holders.append(Holder(f"held-{len(free)}", 1, (free.pop(),), draw.randrange(3), 0, *draw.choice(LIVES)))
        starved = {draw.choice(few).uid} if draw.random() < 0.5 else set()
        plans = [plan(stage.devices, [waiting(stage, job) for job in jobs], holders, starved) for jobs in (few, whole)]
        assert (plans[0].starts, plans[0].preemptions) == (plans[1].starts, plans[1].preemptions)


def work_of(store: Store, act: Callable[[], object]) -> int:
    """How many tens of instructions the database carries out for it."""
    done = []
    with store._database.read() as connection:
        driver = connection.connection.dbapi_connection
    assert driver is not None
    # The connection that was in hand last is the next to be taken.
    driver.set_progress_handler(lambda: done.append(1), 10)  # type: ignore[attr-defined]
    act()
    driver.set_progress_handler(None, 0)  # type: ignore[attr-defined]
    return len(done)


def test_a_look_at_the_queue_costs_the_database_the_same_however_long_it_is(opened: Open) -> None:
    stage = opened(gpus=2)
    wanted: list[dict[str, int]] = [{}, {"gpus": 0}, {"gpus": 1}, {"gpus": 2}, {"cpu_replicas": 1}, {"cpu_replicas": 4}]
    work = []
    for count in (60, 3000):
        made = made_up_jobs(count, seed=count, states=(Job.QUEUED,))
        rows = [row | {"gpus": None, "cpu_replicas": None} | wanted[n % 6] for n, row in enumerate(made)]
        put(stage.store, [row | {"job_id": f"{count}-{n}"} for n, row in enumerate(rows)])
        work.append(work_of(stage.store, lambda: stage.store.queued_jobs(limit=3)))
    assert len(stage.store.queued_jobs(limit=3)) == 3 * len(wanted)
    assert 0 < work[1] < 1.5 * work[0]


LIVES = [(False, False), (True, False), (False, True)]
"""Whether an attempt may make room, and whether it is being ended."""


def waiting(stage: Stage, job: QueuedJob) -> Waiting:
    return Waiting(job.uid, str(job.name), stage.devices.demand(job.gpus, None), job.priority, job.sequence)
