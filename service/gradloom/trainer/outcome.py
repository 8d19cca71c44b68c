"""How an attempt ended, from the exception that ended it: the one table of reasons on the trainer's side."""

import errno
import traceback
from collections.abc import Iterator, Sequence
from typing import Final

import tensorflow as tf

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.trainer import user_code
from gradloom.trainer.datasets import DataUnavailable
from gradloom.trainer.library_messages import telling_line, without_colors
from gradloom.trainer.proof import ExportDisagreedError
from gradloom.trainer.resolved import EnvironmentChangedError
from gradloom.trainer.step import NotFiniteError
from gradloom.v1 import job_pb2

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_SPACE_TEXTS: Final = ("No space left on device", "Disk quota exceeded")
MOST_MESSAGE_CHARACTERS: Final = 4000
MOST_LOG_LINES: Final = 50
SAYS_IT_ALL: Final = frozenset({job_pb2.Job.LOSS_NOT_FINITE, job_pb2.Job.ENVIRONMENT_CHANGED})
"""Reasons whose message needs no traceback: nothing is wrong with the code that raised."""
REFUSALS: Final = (ValueError, TypeError, NotImplementedError, tf.errors.InvalidArgumentError)
"""What Keras and TensorFlow raise for what they cannot do; before the first step, that is the spec's fault."""


def failure(error: Exception, before_first_step: bool) -> attempt_pb2.FinishAttemptRequest:
    """The end of an attempt that raised, without progress."""
    reason = reason_of(error, before_first_step)
    faults = error.faults if isinstance(error, InvalidRequestError | DataUnavailable) else ()
    # A refusal that only passes on what user code raised is told as that.
    is_of_user_code = isinstance(error, InvalidRequestError) and reason != job_pb2.Job.SPEC_REFUSED
    told = _raised_by_user_code(faults) if is_of_user_code else error
    raised = user_code.raised_by(told)
    text = without_colors(str(told))[:MOST_MESSAGE_CHARACTERS]
    lines = without_colors("".join(traceback.format_exception(told))).splitlines()
    # The faults of a spec, too, say it all.
    explained = reason in SAYS_IT_ALL or (told is error and faults)
    name = f"{type(told).__module__}.{type(told).__qualname__}".removeprefix("builtins.")
    diverged = [FieldFault(error.rate_field, text)] if isinstance(error, NotFiniteError) and error.rate_field else []
    return attempt_pb2.FinishAttemptRequest(
        reason=reason,
        message=_sentence(name, text, faults, raised),
        error=job_pb2.JobError(
            exception_type=raised.exception_type if raised else name,
            message=text,
            field_faults=[
                job_pb2.FieldFault(field=fault.field, description=fault.description) for fault in (*faults, *diverged)
            ],
            log_lines=[] if explained else [line for line in lines if line.strip()][-MOST_LOG_LINES:],
        ),
    )


def reason_of(error: Exception, before_first_step: bool) -> job_pb2.Job.Reason:
    """The reason for an exception; causes that hide behind another exception count where memory or disk ran out.

    A refusal of several faults is the spec's as long as one of them is.
    """
    if isinstance(error, InvalidRequestError):
        raised = [fault.error for fault in error.faults if isinstance(fault, user_code.UserCodeFault)]
        if not raised or len(raised) < len(error.faults):
            return job_pb2.Job.SPEC_REFUSED
        return _exhausted_behind(raised[0]) or job_pb2.Job.USER_CODE_RAISED
    if isinstance(error, DataUnavailable):
        return job_pb2.Job.DATA_UNAVAILABLE
    if isinstance(error, EnvironmentChangedError):
        return job_pb2.Job.ENVIRONMENT_CHANGED
    if isinstance(error, ExportDisagreedError):
        return job_pb2.Job.EXPORT_DISAGREED
    if isinstance(error, NotFiniteError):
        return job_pb2.Job.LOSS_NOT_FINITE
    if exhausted := _exhausted_behind(error):
        return exhausted
    if user_code.raised_by(error):
        return job_pb2.Job.USER_CODE_RAISED
    return job_pb2.Job.SPEC_REFUSED if before_first_step and isinstance(error, REFUSALS) else job_pb2.Job.TRAINER_RAISED


def _raised_by_user_code(faults: Sequence[FieldFault]) -> BaseException:
    return next(fault.error for fault in faults if isinstance(fault, user_code.UserCodeFault))


def _exhausted_behind(error: BaseException) -> job_pb2.Job.Reason | None:
    return next((reason for reason in map(_exhausted, _chain(error)) if reason is not None), None)


def _exhausted(error: BaseException) -> job_pb2.Job.Reason | None:
    # TensorFlow and HDF5 pass the text of the operating system on, but not always its number.
    if getattr(error, "errno", None) in NO_SPACE or any(text in str(error) for text in NO_SPACE_TEXTS):
        return job_pb2.Job.DISK_FULL
    if isinstance(error, MemoryError):
        return job_pb2.Job.OUT_OF_HOST_MEMORY
    if isinstance(error, tf.errors.ResourceExhaustedError):
        on_device = "GPU" in str(error).upper()
        return job_pb2.Job.OUT_OF_DEVICE_MEMORY if on_device else job_pb2.Job.OUT_OF_HOST_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return job_pb2.Job.OUT_OF_HOST_MEMORY
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def _sentence(name: str, text: str, faults: Sequence[FieldFault], raised: user_code.Raised | None) -> str:
    if faults:
        first = f"{faults[0].field}: {faults[0].description}"
        return first if len(faults) == 1 else f"{first} (and {len(faults) - 1} more)"
    if raised:
        return str(raised)
    line = telling_line(text)
    # What this project raises on purpose is a sentence by itself.
    return line if line and name.startswith("gradloom.") else f"{name}: {line}" if line else name
