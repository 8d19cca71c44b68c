"""Decides how an attempt ended and what follows for its job, from what was reported and observed; does no I/O."""

import signal
from dataclasses import dataclass

from gradloom.job import (
    DEFAULT_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    MAX_UNCOUNTED_ATTEMPTS,
    REASON_RULES,
    SAVING_REASONS,
    Fault,
    reason_name,
)
from gradloom.jobs.ended_logs import AttemptLog
from gradloom.jobs.finality import Finality, Tally, finality
from gradloom.jobs.launcher import Ended, LaunchError, Lost
from gradloom.jobs.records import AttemptOutcome, AttemptRow
from gradloom.spec.limits import seconds_of
from gradloom.supervisor.attempt_directory import ExitRecord
from gradloom.v1 import job_pb2, spec_pb2

Job = job_pb2.Job


_TRAINERS_REASONS = frozenset(
    {
        Job.SPEC_REFUSED,
        Job.DATA_UNAVAILABLE,
        Job.TRAINER_RAISED,
        Job.OUT_OF_HOST_MEMORY,
        Job.OUT_OF_DEVICE_MEMORY,
        Job.EXPORT_DISAGREED,
        Job.DISK_FULL,
        Job.ENVIRONMENT_CHANGED,
        Job.LOSS_NOT_FINITE,
        Job.STEP_HUNG,
        Job.STAGE_HUNG,
        Job.USER_CODE_RAISED,
    }
)
"""Failures that a trainer can know of; what else it may claim, such as a cancel, is not its to say."""


@dataclass(frozen=True)
class Verdict:
    """How the attempt ended and where its job goes."""

    outcome: AttemptOutcome
    next_state: int


def decide(
    attempt: AttemptRow,
    observed: Ended | Lost | LaunchError,
    log: AttemptLog,
    retry: spec_pb2.RetrySpec,
    unsaved: str = "",
) -> Verdict:
    """Decides once nothing of the attempt is left; `retry` is of its job's spec, `unsaved` from `unsaved_training`.

    A cancel always wins; then a proven export; then why the attempt was being ended; then the failure that the trainer
    reported; then how its process ended.
    """
    record = observed.record if isinstance(observed, Ended) else None
    reason, message, error = _cause(attempt, observed)
    next_state, message = _follow(attempt, reason, message, retry)
    if unsaved and next_state != Job.SUCCEEDED:
        message = f"{message}; {unsaved}"
    if record is not None and record.log_loss:
        # The log itself says so only where there was room for that.
        message = f"{message}; {record.log_loss}"
    was_wanted = reason in (Job.COMPLETED, Job.CANCELLED_BY_USER) or reason in SAVING_REASONS
    if was_wanted and next_state != Job.FAILED:
        error = None
    else:
        error = error or job_pb2.JobError(message=message)
        if not error.log_lines:
            error.log_lines.extend(log.last_lines)
    outcome = AttemptOutcome(
        reason=reason,
        message=message,
        error=error,
        exit_code=record.exit_code if record else None,
        signal=record.signal if record else None,
        peak_memory_bytes=record.peak_memory_bytes if record else None,
        cpu_seconds=record.user_cpu_seconds + record.system_cpu_seconds if record else None,
        log_size_bytes=log.size_bytes,
        log_dropped_bytes=log.dropped_bytes,
        backoff_seconds=_backoff(attempt, reason, retry),
        artifacts=tuple(log.artifacts),
    )
    return Verdict(outcome, next_state)


def unsaved_training(attempt: AttemptRow, saved_step: int, full_disk: str) -> str:
    """What of the training a disk that took no checkpoint has cost, as a clause; empty when nothing is known of that.

    Args:
        attempt: Which has ended.
        saved_step: Of the checkpoint that its job goes on from, or could go on from; 0 without one.
        full_disk: That the store's own disk is full; empty when it has room.
    """
    # On a full store reports are refused, and whoever is cancelled saves nothing.
    is_further = attempt.job_state == Job.CANCELLING and attempt.is_training
    cause = attempt.trouble or full_disk
    if not cause or not (is_further or attempt.global_step > saved_step):
        return ""
    lost = f"what it trained after step {saved_step:,}" if saved_step else "all that it trained"
    return f"{lost} is lost (its last report was of step {attempt.global_step:,}): {cause}"


def _cause(attempt: AttemptRow, observed: Ended | Lost | LaunchError) -> tuple[int, str, job_pb2.JobError | None]:
    if attempt.job_state == Job.CANCELLING:
        return Job.CANCELLED_BY_USER, "cancelled by a user", None
    finish = attempt.finish
    if finish is not None and finish.reason == Job.COMPLETED:
        return Job.COMPLETED, finish.message or "the export is proven", None
    if attempt.stopping_reason:
        return attempt.stopping_reason, attempt.stopping_message, None
    if finish is not None and finish.reason in _TRAINERS_REASONS:
        error = job_pb2.JobError()
        error.CopyFrom(finish.error)
        return finish.reason, finish.message or error.message, error
    if isinstance(observed, LaunchError):
        return Job.DISK_FULL if observed.disk_full else Job.LAUNCH_FAILED, f"could not be started: {observed}", None
    if isinstance(observed, Lost):
        return Job.TRAINER_LOST, "its supervisor is gone without a record", None
    return *_cause_of_exit(observed.record), None


def _cause_of_exit(record: ExitRecord) -> tuple[int, str]:
    if record.orphaned:
        return Job.SERVER_STOPPED, "no server was seen for the orphan timeout"
    if record.oom_killed:
        return Job.OUT_OF_HOST_MEMORY, "the kernel killed the trainer because memory ran out"
    if record.stopped:
        # Not by this server, which would have noted why: a machine that shuts down, or somebody's hand.
        return Job.TRAINER_LOST, record.error or "its supervisor was told to stop by something else than the server"
    if not record.assigned and record.exit_code is not None:
        return Job.LAUNCH_FAILED, f"the trainer exited with code {record.exit_code} before it took its assignment"
    if not record.assigned and record.signal is not None:
        # Such as a spare that was killed in the moment in which it was used.
        return (
            Job.TRAINER_LOST,
            f"the trainer was killed by {_signal_name(record.signal)} before it took its assignment",
        )
    if record.signal is not None:
        return Job.KILLED_BY_SIGNAL, f"the trainer was killed by {_signal_name(record.signal)}"
    if record.exit_code is not None:
        return Job.TRAINER_EXITED, f"the trainer exited with code {record.exit_code} and no report"
    return Job.TRAINER_LOST, record.error or "its supervisor does not know how the trainer ended"


def _follow(attempt: AttemptRow, reason: int, message: str, retry: spec_pb2.RetrySpec) -> tuple[int, str]:
    """Where the job goes, and the message with why it goes no further."""
    if reason == Job.COMPLETED:
        return Job.SUCCEEDED, message
    if reason == Job.CANCELLED_BY_USER:
        return Job.CANCELLED, message
    name = reason_name(reason)
    told = {
        Finality.NEVER_RETRIED: "",
        Finality.BEFORE_FIRST_STEP: " (before its first step: another attempt would raise it again)",
        Finality.NOT_NAMED: f" (retry.retry_on does not name {name})",
        Finality.USED_UP: f" (attempt {attempt.number}; retry.max_attempts is {attempt.max_attempts})",
        Finality.LOST_TOO_OFTEN: f" ({MAX_UNCOUNTED_ATTEMPTS} attempts ended so or alike without a new checkpoint)",
    }
    final = finality(reason, _tally(attempt, reason), retry)
    if final is not None:
        return Job.FAILED, message + told[final]
    return (Job.PAUSED if attempt.job_state == Job.PAUSING else Job.QUEUED), message


def _tally(attempt: AttemptRow, reason: int) -> Tally:
    """How it stands once the attempt has ended; as `AttemptWrites.end_attempt` stores it."""
    rule = REASON_RULES[reason]
    return Tally(
        has_stepped=attempt.has_stepped,
        counted=attempt.counted_attempts + int(rule.counted),
        max_attempts=attempt.max_attempts,
        lost=0 if attempt.advanced else attempt.uncounted_attempts + int(rule.lost),
    )


def _backoff(attempt: AttemptRow, reason: int, retry: spec_pb2.RetrySpec) -> float | None:
    """How long a next attempt waits: twice as long after each that failed, not at all where nothing failed."""
    rule, tally = REASON_RULES[reason], _tally(attempt, reason)
    if rule.fault not in (Fault.JOB, Fault.MACHINE):
        return None
    before = max(0, (tally.counted if rule.counted else tally.lost) - 1)
    backoff = retry.backoff
    first, longest = DEFAULT_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS
    if backoff.HasField("initial_duration"):
        first = seconds_of(backoff.initial_duration)
    if backoff.HasField("max_duration"):
        longest = seconds_of(backoff.max_duration)
    return min(first * 2**before, longest) or None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
