"""Why another attempt followed one that ended, or why none did."""

from gradloom.job import MAX_UNCOUNTED_ATTEMPTS, reason_name
from gradloom.jobs.finality import Finality, Tally, finality
from gradloom.jobs.situation import KnownAttempt, Situation
from gradloom.v1 import job_pb2

Job = job_pb2.Job


def consequence(situation: Situation, ended: KnownAttempt) -> str:
    """What the end of an attempt meant for its job, in a sentence."""
    attempt, state = ended.message, situation.job.state
    if attempt.reason == Job.COMPLETED:
        return "The export is proven: the job succeeded."
    following = next((each.message for each in situation.attempts if each.message.number == attempt.number + 1), None)
    if following is not None:
        place = f" from {following.checkpoint_in.rpartition('/')[2]}" if following.checkpoint_in else ""
        return f"{_counted(situation, ended)} Attempt {following.number} followed{place}."
    if state == Job.FAILED:
        return _last(situation, ended)
    if state == Job.CANCELLED:
        return "A user cancelled the job; nothing follows."
    waits = "it is resumed" if state in (Job.PAUSED, Job.PAUSING) else "devices are free for it"
    return f"{_counted(situation, ended)} Attempt {attempt.number + 1} follows when {waits}."


def _counted(situation: Situation, ended: KnownAttempt) -> str:
    """Whether it counts, and how many may."""
    if not ended.message.counted:
        return "It does not count against retry.max_attempts."
    later = sum(each.message.counted for each in situation.attempts if each.message.number > ended.message.number)
    return f"It counts: {situation.counted_attempts - later} of {situation.max_attempts} (retry.max_attempts)."


def _last(situation: Situation, ended: KnownAttempt) -> str:
    """Why nothing followed the last attempt of a job that failed."""
    tally = Tally(ended.has_stepped, situation.counted_attempts, situation.max_attempts, situation.uncounted_attempts)
    match finality(ended.message.reason, tally, situation.retry):
        case Finality.NEVER_RETRIED:
            name = reason_name(ended.message.reason)
            return f"{name} is never tried again: another attempt would end the same way."
        case Finality.BEFORE_FIRST_STEP:
            return "It was raised before the attempt's first step: another attempt would raise it again."
        case Finality.NOT_NAMED:
            name = reason_name(ended.message.reason)
            return f"It is not tried again, because spec.retry.retry_on does not name {name}."
        case Finality.USED_UP if situation.max_attempts == 1:
            return "It counts, and only one attempt may (retry.max_attempts)."
        case Finality.USED_UP:
            return f"It was the last of the {situation.max_attempts} attempts that may count (retry.max_attempts)."
        case Finality.LOST_TOO_OFTEN:
            lost = f"{MAX_UNCOUNTED_ATTEMPTS} attempts that the server or the machine lost"
            return f"It was the last of {lost} without a new checkpoint; none follows."
        case None:
            # Decided by an earlier version with other rules.
            return "The job failed with it."
