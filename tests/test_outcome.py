"""Which end follows from what was reported and observed."""

from dataclasses import replace
from typing import Any

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import MAX_UNCOUNTED_ATTEMPTS, NEXT_STATES, REASON_RULES
from gradloom.jobs.ended_logs import AttemptLog
from gradloom.jobs.launcher import Ended, LaunchError, Lost
from gradloom.jobs.outcome import decide, unsaved_training
from gradloom.jobs.records import AttemptRow
from gradloom.supervisor.attempt_directory import ExitRecord
from gradloom.v1 import job_pb2
from gradloom.v1.spec_pb2 import RetrySpec
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
    stopping_message="as it was asked for",
    is_training=True,
    has_stepped=True,
    global_step=0,
    trouble="",
    finish=None,
    beat=1,
    lease_owner="server",
    lease_beat=1,
    sequence=1,
    priority=0,
    preemptible=False,
    run_seconds_left=None,
    max_attempts=3,
    counted_attempts=0,
    uncounted_attempts=0,
    advanced=False,
    queued_time=NOON,
    start_time=NOON,
)


def finish(reason: int) -> attempt_pb2.FinishAttemptRequest:
    return attempt_pb2.FinishAttemptRequest(reason=reason, message="as reported")  # type: ignore[arg-type]


def a_retry(first: float, longest: float | None = None) -> RetrySpec:
    retry = RetrySpec()
    retry.backoff.initial_duration.FromNanoseconds(int(first * 1e9))
    if longest is not None:
        retry.backoff.max_duration.FromNanoseconds(int(longest * 1e9))
    return retry


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
        ({"finish": finish(Job.STAGE_HUNG)}, exited(exit_code=1), Job.STAGE_HUNG, Job.QUEUED),
        ({"finish": finish(Job.STAGE_HUNG), "counted_attempts": 2}, exited(exit_code=1), Job.STAGE_HUNG, Job.FAILED),
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
        ({"stopping_reason": Job.PREEMPTED}, exited(signal=15), Job.PREEMPTED, Job.QUEUED),
        (
            {"stopping_reason": Job.PREEMPTED, "finish": finish(Job.COMPLETED)},
            exited(exit_code=0),
            Job.COMPLETED,
            Job.SUCCEEDED,
        ),
        ({"stopping_reason": Job.TRAINER_SILENT}, exited(signal=9), Job.TRAINER_SILENT, Job.QUEUED),
        (
            {"stopping_reason": Job.TRAINER_SILENT, "counted_attempts": 2},
            exited(signal=9),
            Job.TRAINER_SILENT,
            Job.FAILED,
        ),
        ({"stopping_reason": Job.DEADLINE_EXCEEDED}, exited(signal=15), Job.DEADLINE_EXCEEDED, Job.FAILED),
        (
            {"stopping_reason": Job.PAUSED_BY_USER, "job_state": Job.PAUSING},
            exited(signal=15),
            Job.PAUSED_BY_USER,
            Job.PAUSED,
        ),
        ({"stopping_reason": Job.PREEMPTED, "job_state": Job.PAUSING}, Lost(), Job.PREEMPTED, Job.PAUSED),
        ({"job_state": Job.PAUSING}, exited(exit_code=1), Job.TRAINER_EXITED, Job.PAUSED),
        ({"job_state": Job.PAUSING, "counted_attempts": 2}, exited(exit_code=1), Job.TRAINER_EXITED, Job.FAILED),
        (
            {"stopping_reason": Job.PAUSED_BY_USER, "job_state": Job.PAUSING, "finish": finish(Job.COMPLETED)},
            exited(exit_code=0),
            Job.COMPLETED,
            Job.SUCCEEDED,
        ),
        (
            {"stopping_reason": Job.PAUSED_BY_USER, "job_state": Job.CANCELLING},
            exited(signal=15),
            Job.CANCELLED_BY_USER,
            Job.CANCELLED,
        ),
        ({"finish": finish(Job.USER_CODE_RAISED)}, exited(exit_code=1), Job.USER_CODE_RAISED, Job.QUEUED),
        (
            {"finish": finish(Job.USER_CODE_RAISED), "has_stepped": False},
            exited(exit_code=1),
            Job.USER_CODE_RAISED,
            Job.FAILED,
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
        (
            {"uncounted_attempts": MAX_UNCOUNTED_ATTEMPTS, "stopping_reason": Job.PREEMPTED},
            exited(signal=15),
            Job.PREEMPTED,
            Job.QUEUED,
        ),
        ({"counted_attempts": 2}, LaunchError("no"), Job.LAUNCH_FAILED, Job.QUEUED),
        ({"counted_attempts": 2}, LaunchError("no", disk_full=True), Job.DISK_FULL, Job.QUEUED),
        ({"counted_attempts": 2, "finish": finish(Job.DISK_FULL)}, exited(exit_code=1), Job.DISK_FULL, Job.QUEUED),
        ({"uncounted_attempts": MAX_UNCOUNTED_ATTEMPTS - 1}, LaunchError("no"), Job.LAUNCH_FAILED, Job.FAILED),
    ],
)
def test_the_reason_and_the_next_state_follow_from_the_table(
    row: dict[str, Any], observed: Any, reason: int, next_state: int
) -> None:
    attempt = replace(ROW, **row)
    verdict = decide(attempt, observed, AttemptLog(["last line"]), RetrySpec())
    assert (Job.Reason.Name(verdict.outcome.reason), verdict.next_state) == (Job.Reason.Name(reason), next_state)
    assert verdict.next_state in NEXT_STATES[attempt.job_state]
    assert verdict.outcome.message


@pytest.mark.parametrize("reason", sorted(REASON_RULES))
def test_every_reported_reason_leads_to_an_allowed_state(reason: int) -> None:
    verdict = decide(replace(ROW, finish=finish(reason)), exited(exit_code=1), AttemptLog(), RetrySpec())
    assert verdict.next_state in NEXT_STATES[Job.RUNNING]


@pytest.mark.parametrize("row", [{}, {"finish": finish(Job.COMPLETED)}])
def test_a_log_that_could_not_all_be_written_is_told_whatever_the_end(row: dict[str, Any]) -> None:
    lost = "500 bytes of the log could not be written: No space left on device"
    told = decide(replace(ROW, **row), exited(exit_code=0, log_loss=lost), AttemptLog(), RetrySpec()).outcome.message
    assert told.endswith(f"; {lost}")


REFUSED = "the checkpoint of step 900 could not be written: No space left on device"
FULL = "the disk of the server's --data-dir is full"


@pytest.mark.parametrize(
    ("row", "saved_step", "full_disk", "told"),
    [
        (
            {"global_step": 1200, "trouble": REFUSED},
            800,
            "",
            f"what it trained after step 800 is lost (its last report was of step 1,200): {REFUSED}",
        ),
        (
            {"global_step": 1200, "trouble": REFUSED},
            0,
            FULL,
            f"all that it trained is lost (its last report was of step 1,200): {REFUSED}",
        ),
        # No report was taken since the disk is full.
        (
            {"global_step": 800, "job_state": Job.CANCELLING},
            800,
            FULL,
            f"what it trained after step 800 is lost (its last report was of step 800): {FULL}",
        ),
        ({"global_step": 800, "trouble": REFUSED}, 800, FULL, ""),
        ({"global_step": 800, "job_state": Job.CANCELLING, "is_training": False}, 800, FULL, ""),
        ({"global_step": 1200}, 800, "", ""),
    ],
)
def test_what_a_full_disk_has_cost_is_told_with_the_step_that_is_left(
    row: dict[str, Any], saved_step: int, full_disk: str, told: str
) -> None:
    assert unsaved_training(replace(ROW, **row), saved_step, full_disk) == told


def test_training_that_is_lost_is_told_by_every_end_but_a_success() -> None:
    paused = replace(ROW, stopping_reason=Job.PAUSED_BY_USER, job_state=Job.PAUSING)
    assert decide(paused, exited(exit_code=3), AttemptLog(), RetrySpec(), "lost").outcome.message.endswith("; lost")
    done = replace(ROW, finish=finish(Job.COMPLETED))
    assert decide(done, exited(exit_code=0), AttemptLog(), RetrySpec(), "lost").outcome.message == "as reported"


def test_an_end_that_was_asked_for_is_an_error_only_where_it_fails_the_job() -> None:
    deadline = decide(replace(ROW, stopping_reason=Job.DEADLINE_EXCEEDED), exited(signal=15), AttemptLog(), RetrySpec())
    assert deadline.outcome.error is not None
    preempted = decide(replace(ROW, stopping_reason=Job.PREEMPTED), exited(signal=15), AttemptLog(), RetrySpec())
    assert preempted.outcome.error is None


def test_a_failure_shows_the_end_of_the_log_and_a_success_no_error() -> None:
    log = AttemptLog(["Traceback", "ValueError"], size_bytes=3000, dropped_bytes=1000)
    failed = decide(ROW, exited(exit_code=1), log, RetrySpec()).outcome
    assert failed.error is not None
    assert list(failed.error.log_lines) == ["Traceback", "ValueError"]
    assert failed.exit_code == 1
    assert (failed.log_size_bytes, failed.log_dropped_bytes) == (3000, 1000)
    done = decide(replace(ROW, finish=finish(Job.COMPLETED)), exited(exit_code=0), log, RetrySpec())
    assert done.outcome.error is None


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (RetrySpec(), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]),
        (a_retry(first=0.5, longest=3.0), [0.5, 1.0, 2.0, 3.0, 3.0]),
        (a_retry(first=0.0), [None, None, None]),
    ],
)
def test_the_wait_doubles_with_every_attempt_that_fails(retry: RetrySpec, waits: list[float | None]) -> None:
    rows = [replace(ROW, counted_attempts=counted, max_attempts=20) for counted in range(len(waits))]
    assert [decide(row, exited(exit_code=1), AttemptLog(), retry).outcome.backoff_seconds for row in rows] == waits
    assert all(decide(row, Lost(), AttemptLog(), retry).outcome.backoff_seconds is None for row in rows)
    failed = [replace(ROW, counted_attempts=2, uncounted_attempts=lost) for lost in range(len(waits))]
    refused = [decide(row, LaunchError("no"), AttemptLog(), retry).outcome.backoff_seconds for row in failed]
    assert refused == waits, "what the machine fails waits as long, by its own count"


def test_what_retry_on_does_not_name_is_not_retried_if_it_counts() -> None:
    retry = RetrySpec(retry_on=["KILLED_BY_SIGNAL"])
    assert decide(ROW, exited(signal=9), AttemptLog(), retry).next_state == Job.QUEUED
    assert decide(ROW, Lost(), AttemptLog(), retry).next_state == Job.QUEUED
    refused = decide(ROW, exited(exit_code=1), AttemptLog(), retry)
    assert refused.next_state == Job.FAILED
    assert refused.outcome.message.endswith("(retry.retry_on does not name TRAINER_EXITED)")
