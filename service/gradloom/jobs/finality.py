"""Why no attempt follows one that ended: decided in one place, for those who end a job and those who tell of it."""

from dataclasses import dataclass
from enum import Enum, auto

from gradloom.job import MAX_UNCOUNTED_ATTEMPTS, REASON_RULES, reason_name
from gradloom.v1 import job_pb2, spec_pb2


@dataclass(frozen=True)
class Tally:
    """How a job stands once an attempt has ended; that one is among those counted."""

    has_stepped: bool
    """The attempt made a step of its own."""
    counted: int
    max_attempts: int
    lost: int
    """Attempts that server or machine ended, since the newest one that got further than those before it."""


class Finality(Enum):
    """Why none follows."""

    NEVER_RETRIED = auto()
    BEFORE_FIRST_STEP = auto()
    """User code that raised so early would do so again."""
    NOT_NAMED = auto()
    """By `retry.retry_on`."""
    USED_UP = auto()
    """All that may count have."""
    LOST_TOO_OFTEN = auto()


def finality(reason: int, tally: Tally, retry: spec_pb2.RetrySpec) -> Finality | None:
    """Decides for an attempt that failed or was ended for this reason; None: another one may follow."""
    rule = REASON_RULES[reason]
    if not rule.retried:
        return Finality.NEVER_RETRIED
    if reason == job_pb2.Job.USER_CODE_RAISED and not tally.has_stepped:
        return Finality.BEFORE_FIRST_STEP
    if rule.counted and retry.retry_on and reason_name(reason) not in retry.retry_on:
        return Finality.NOT_NAMED
    if rule.counted and tally.counted >= tally.max_attempts:
        return Finality.USED_UP
    if rule.lost and tally.lost >= MAX_UNCOUNTED_ATTEMPTS:
        return Finality.LOST_TOO_OFTEN
    return None
