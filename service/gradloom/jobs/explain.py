"""Why a job is where it is, in sentences for a tired person: what it waits for, what it does, or how it ended."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gradloom.job import JobName, reason_name
from gradloom.jobs import log_cursor
from gradloom.jobs.consequences import consequence
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.hints import FREE_A_DISK, hint, reference
from gradloom.jobs.messages import duration
from gradloom.jobs.situation import MOST_ATTEMPTS, KnownAttempt, Situation
from gradloom.jobs.store import Store
from gradloom.jobs.stories import STORY_LINES, beginning, last_words
from gradloom.jobs.waits import Outlook, Wait
from gradloom.jobs.wording import count, how_far, listed, span
from gradloom.spec.limits import seconds_of
from gradloom.supervisor import attempt_log
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2, service_pb2

Job = job_pb2.Job
Progress = job_pb2.Progress
Response = service_pb2.ExplainJobResponse

SHOWN_LINES: Final = 10
STORY_BYTES: Final = 64 * 1024
SILENCE_SECONDS: Final = 10.0
"""A trainer reports twice a second; a silence is worth a word from here on."""
PREPARATION_SECONDS: Final = 60.0
"""Who prepares for longer may hang, long before spec.training.stage_timeout_seconds ends that."""

logger = logging.getLogger(__name__)


class Explainer:
    """Explains the jobs of one server."""

    def __init__(
        self,
        store: Store,
        devices: Devices,
        outlook: Outlook,
        disks: Disks,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._store = store
        self._devices = devices
        self._outlook = outlook
        self._disks = disks
        self._clock = clock

    def explain(self, name: JobName) -> Response:
        """Everything about the job, as of now. Raises NotFoundError."""
        situation = self._store.situation(name, self._devices)
        ended = [each for each in situation.attempts if each.message.state == job_pb2.Attempt.ENDED]
        response = Response(job=situation.job, attempts=[_ended(situation, each) for each in ended[:MOST_ATTEMPTS]])
        if situation.job.state == Job.QUEUED:
            wait = Wait(situation, self._devices, self._outlook, self._disks.full(), self._clock())
            response.waiting.CopyFrom(wait.message())
            response.summary, response.hint = wait.summary(), wait.hint()
            return response
        live = next((each for each in situation.attempts if each.message.state != job_pb2.Attempt.ENDED), None)
        if live is None:
            response.summary, response.hint = _resting(situation), _hint_at_rest(situation)
            return response
        response.running.CopyFrom(self._running(situation, live))
        response.summary = self._summary(situation, live, response.running)
        response.hint = self._hint(situation, response.running)
        return response

    def _running(self, situation: Situation, live: KnownAttempt) -> Response.Running:
        attempt = live.message
        age = (self._clock() - attempt.start_time.ToDatetime(UTC)).total_seconds()
        running = Response.Running(
            attempt=attempt.number,
            devices=attempt.devices,
            running_duration=duration(max(0.0, age)),
            stopping_reason=attempt.reason,
        )
        if live.has_reported:
            silent = self._outlook.silent_seconds(situation.uid, attempt.number)
            running.silent_duration.CopyFrom(duration(silent))
        return running

    def _summary(self, situation: Situation, live: KnownAttempt, running: Response.Running) -> str:
        name, job = reference(situation.name), situation.job
        parts = [f"{name} {_doing(situation, live)}"]
        if job.progress.trouble:
            parts.append(job.progress.trouble)
        elif full := self._disks.full():
            parts.append(full)
        silent = seconds_of(running.silent_duration)
        if running.HasField("silent_duration") and silent >= SILENCE_SECONDS:
            parts.append(f"its trainer has said nothing for {span(silent)}")
        if _prepares_long(situation, running):
            parts.append(f"it has not trained yet after {span(seconds_of(running.running_duration))}")
        left = self._outlook.run_seconds_left(situation.uid)
        if left is not None and not running.stopping_reason:
            parts.append(f"it may hold its devices for another {span(left)} (max_run_duration)")
        return "; ".join(parts) + "."

    def _hint(self, situation: Situation, running: Response.Running) -> str:
        if situation.job.progress.trouble or self._disks.full():
            return FREE_A_DISK
        if running.HasField("silent_duration") and seconds_of(running.silent_duration) >= SILENCE_SECONDS:
            return f"`gradloom logs {reference(situation.name)} -f` shows what it does."
        if _prepares_long(situation, running):
            name = reference(situation.name)
            return (
                f"`gradloom logs {name} -f` shows what it does. What hangs before the first step is ended by "
                f"spec.training.stage_timeout_seconds, or at once by `gradloom cancel {name}`."
            )
        return ""


def _prepares_long(situation: Situation, running: Response.Running) -> bool:
    is_first = situation.job.progress.phase in (Progress.PHASE_UNSPECIFIED, Progress.PREPARING)
    return is_first and seconds_of(running.running_duration) >= PREPARATION_SECONDS


def _doing(situation: Situation, live: KnownAttempt) -> str:
    """What the live attempt does, after the name of the job."""
    job, attempt = situation.job, live.message
    number, devices = f"attempt {attempt.number}", listed(attempt.devices)
    if job.state == Job.CANCELLING:
        return f"is being cancelled: the processes of {number} are being ended"
    if job.state == Job.PAUSING:
        return f"is being paused: {number} saves a checkpoint and ends"
    if attempt.reason:
        why = f"{reason_name(attempt.reason)}: {attempt.message}" if attempt.message else reason_name(attempt.reason)
        return f"is being stopped ({why}); {number} saves what it can and ends"
    if not live.has_reported:
        return f"starts: {number} has {devices}, and its trainer has not reported yet"
    phase, far = job.progress.phase, how_far(job.progress)
    if phase == Progress.TRAINING:
        return f"trains on {devices}: {far}" + ("" if attempt.number == 1 else f", in {number}")
    if phase == Progress.EVALUATING:
        return f"evaluates on {devices}: {far}"
    if phase == Progress.EXPORTING:
        return "has trained and writes its export"
    if phase == Progress.PROVING:
        return "has trained, and its export is loaded in a clean process and compared with the trained model"
    return f"prepares model and data: {number} on {devices}"


def _resting(situation: Situation) -> str:
    """Where a job is that neither waits for devices nor has a live attempt."""
    name, job = reference(situation.name), situation.job
    attempts = count(job.attempt_count, "attempt")
    if job.state == Job.PAUSED:
        place = f"from {how_far(job.progress)}" if job.progress.global_step else "from the beginning"
        return f"{name} is paused and holds no devices; it goes on {place} when it is resumed."
    if job.state == Job.SUCCEEDED:
        return f"{name} succeeded in {attempts}: {job.state_message.rstrip('.')}."
    if job.state == Job.CANCELLED:
        if not situation.attempts:
            return f"{name} was cancelled by a user before it had started."
        during = "in" if situation.attempts[0].message.reason == Job.CANCELLED_BY_USER else "after"
        return f"{name} was cancelled by a user {during} attempt {job.attempt_count}."
    after = f"after {attempts}" if job.attempt_count else "before its first attempt"
    return f"{name} failed {after} with {reason_name(job.state_reason)}: {job.state_message.rstrip('.')}."


def _hint_at_rest(situation: Situation) -> str:
    job = situation.job
    reason = Job.PAUSED_BY_USER if job.state == Job.PAUSED else job.state_reason
    if not reason:
        return ""
    return hint(reason, situation.name, job.attempt_count, job.error, situation.standing)


def _ended(situation: Situation, known: KnownAttempt) -> Response.EndedAttempt:
    attempt = known.message
    ended = Response.EndedAttempt(
        attempt=attempt.number,
        reason=attempt.reason,
        message=attempt.message,
        exception_type=attempt.error.exception_type,
        log_lines=attempt.error.log_lines[-SHOWN_LINES:],
        hint=hint(attempt.reason, situation.name, attempt.number, attempt.error, situation.standing),
        counted=attempt.counted,
        consequence=consequence(situation, known),
    )
    try:
        lines = attempt_log.tail(AttemptDirectory(known.directory).log, STORY_LINES, STORY_BYTES)
    except OSError as error:
        logger.warning("The log below %s cannot be read: %s", known.directory, error)
        lines = []
    if lines:
        ended.log_offset_bytes = beginning(lines)
        ended.log_cursor = log_cursor.write(situation.uid, attempt.number, ended.log_offset_bytes)
    # The traceback of an exception says more than the log's own end, and that more than nothing.
    if lines and not attempt.error.exception_type and attempt.reason != Job.COMPLETED:
        ended.log_lines[:] = last_words(lines, SHOWN_LINES)
    return ended
