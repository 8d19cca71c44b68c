"""Which end follows from what was reported and observed."""

from dataclasses import replace
from typing import Any

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import MAX_UNCOUNTED_ATTEMPTS, NEXT_STATES, REASON_RULES
from gradloom.jobs.launcher import Ended, LaunchError, Lost
from gradloom.jobs.leavings import AttemptLog
from gradloom.jobs.outcome import decide
from gradloom.jobs.records import AttemptRow
from gradloom.supervisor.attempt_directory import ExitRecord
from gradloom.v1 import job_pb2
from tests.stores import NOON, name_of

Job = job_pb2.Job
ROW = AttemptRow(
    uid="uid",
    name=name_of("a"),
    number=1,
    state=job_pb2.Attempt.RUNNING,
    job_state=Job.RUNNING,
    devices=("CPU:0",),
    devices_released=False,
    artifact_root="/artifacts",
    stopping_reason=Job.REASON_UNSPECIFIED,
    is_training=True,
    finish=None,
    beat=1,
    lease_owner="server",
    lease_beat=1,
    max_attempts=3,
    counted_attempts=0,
    uncounted_attempts=0,
    advanced=False,
    queued_time=NOON,
    start_time=NOON,
)


def finish(reason: int, step: int = 0) -> attempt_pb2.FinishAttemptRequest:
    progress = job_pb2.Progress(global_step=step)
    return attempt_pb2.FinishAttemptRequest(reason=reason, message="as reported", progress=progress)  # type: ignore[arg-type]


def exited(**record: Any) -> Ended:
    return Ended(ExitRecord(**record))


@pytest.mark.parametrize(
    ("row", "observed", "reason", "next_state"),
    [
        ({}, exited(exit_code=0), Job.TRAINER_EXITED, Job.QUEUED),
        ({}, exited(exit_code=1), Job.TRAINER_EXITED, Job.QUEUED),
        ({}, exited(signal=11), Job.KILLED_BY_SIGNAL, Job.QUEUED),
        ({}, exited(signal=9, oom_killed=True), Job.OUT_OF_HOST_MEMORY, Job.QUEUED),
        ({}, exited(signal=15, stopped=True), Job.TRAINER_LOST, Job.QUEUED),
        ({}, exited(signal=15, stopped=True, orphaned=True), Job.SERVER_STOPPED, Job.QUEUED),
        ({}, exited(exit_code=1, assigned=False), Job.LAUNCH_FAILED, Job.QUEUED),
        ({}, exited(signal=9, assigned=False), Job.TRAINER_LOST, Job.QUEUED),
        ({}, exited(error="supervisor: MemoryError"), Job.TRAINER_LOST, Job.QUEUED),
        ({}, Lost(), Job.TRAINER_LOST, Job.QUEUED),
        ({}, LaunchError("no"), Job.LAUNCH_FAILED, Job.QUEUED),
        ({}, LaunchError("no", disk_full=True), Job.DISK_FULL, Job.QUEUED),
        ({"finish": finish(Job.COMPLETED)}, exited(exit_code=0), Job.COMPLETED, Job.SUCCEEDED),
        ({"finish": finish(Job.COMPLETED)}, Lost(), Job.COMPLETED, Job.SUCCEEDED),
        ({"finish": finish(Job.SPEC_REFUSED)}, exited(exit_code=1), Job.SPEC_REFUSED, Job.FAILED),
        ({"finish": finish(Job.TRAINER_RAISED)}, exited(exit_code=1), Job.TRAINER_RAISED, Job.QUEUED),
        ({"finish": finish(Job.LOSS_NOT_FINITE)}, exited(exit_code=1), Job.LOSS_NOT_FINITE, Job.FAILED),
        ({"finish": finish(Job.STEP_HUNG)}, exited(exit_code=1), Job.STEP_HUNG, Job.QUEUED),
        ({"finish": finish(Job.USER_CODE_RAISED, step=7)}, exited(exit_code=1), Job.USER_CODE_RAISED, Job.QUEUED),
        ({"finish": finish(Job.USER_CODE_RAISED)}, exited(exit_code=1), Job.USER_CODE_RAISED, Job.FAILED),
        ({"finish": finish(Job.STEP_HUNG), "counted_attempts": 2}, exited(exit_code=1), Job.STEP_HUNG, Job.FAILED),
        ({"job_state": Job.CANCELLING}, exited(signal=15), Job.CANCELLED_BY_USER, Job.CANCELLED),
        (
            {"job_state": Job.CANCELLING, "finish": finish(Job.COMPLETED)},
            exited(exit_code=0),
            Job.CANCELLED_BY_USER,
            Job.CANCELLED,
        ),
        ({"stopping_reason": Job.SERVER_STOPPED}, exited(signal=9), Job.SERVER_STOPPED, Job.QUEUED),
        ({"stopping_reason": Job.SERVER_STOPPED}, Lost(), Job.SERVER_STOPPED, Job.QUEUED),
        (
            {"stopping_reason": Job.SERVER_STOPPED, "finish": finish(Job.COMPLETED)},
            exited(exit_code=0),
            Job.COMPLETED,
            Job.SUCCEEDED,
        ),
        (
            {"stopping_reason": Job.SERVER_STOPPED, "finish": finish(Job.TRAINER_RAISED)},
            exited(exit_code=1),
            Job.SERVER_STOPPED,
            Job.QUEUED,
        ),
        ({"counted_attempts": 2}, exited(exit_code=1), Job.TRAINER_EXITED, Job.FAILED),
        ({"counted_attempts": 2}, Lost(), Job.TRAINER_LOST, Job.QUEUED),
        ({"uncounted_attempts": MAX_UNCOUNTED_ATTEMPTS - 1}, Lost(), Job.TRAINER_LOST, Job.FAILED),
        (
            {"uncounted_attempts": MAX_UNCOUNTED_ATTEMPTS - 1, "advanced": True},
            Lost(),
            Job.TRAINER_LOST,
            Job.QUEUED,
        ),
        ({"uncounted_attempts": MAX_UNCOUNTED_ATTEMPTS - 1}, exited(exit_code=1), Job.TRAINER_EXITED, Job.QUEUED),
    ],
)
def test_the_reason_and_the_next_state_follow_from_the_table(
    row: dict[str, Any], observed: Any, reason: int, next_state: int
) -> None:
    attempt = replace(ROW, **row)
    verdict = decide(attempt, observed, AttemptLog(["last line"]))
    assert (Job.Reason.Name(verdict.outcome.reason), verdict.next_state) == (Job.Reason.Name(reason), next_state)
    assert verdict.next_state in NEXT_STATES[attempt.job_state]
    assert verdict.outcome.message


@pytest.mark.parametrize("reason", sorted(REASON_RULES))
def test_every_reported_reason_leads_to_an_allowed_state(reason: int) -> None:
    verdict = decide(replace(ROW, finish=finish(reason)), exited(exit_code=1), AttemptLog())
    assert verdict.next_state in NEXT_STATES[Job.RUNNING]


def test_a_failure_shows_the_end_of_the_log_and_a_success_no_error() -> None:
    log = AttemptLog(["Traceback", "ValueError"], size_bytes=3000, dropped_bytes=1000)
    failed = decide(ROW, exited(exit_code=1), log).outcome
    assert failed.error is not None
    assert list(failed.error.log_lines) == ["Traceback", "ValueError"]
    assert "`gradloom logs a --attempt 1`" in failed.error.hint
    assert failed.exit_code == 1
    assert (failed.log_size_bytes, failed.log_dropped_bytes) == (3000, 1000)
    assert decide(replace(ROW, finish=finish(Job.COMPLETED)), exited(exit_code=0), log).outcome.error is None
