"""Which reason follows from what a trainer raised, and how it is told."""

import errno

import pytest
import tensorflow as tf

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.trainer.datasets import DataUnavailable
from gradloom.trainer.outcome import failure
from gradloom.trainer.proof import ExportDisagreedError
from gradloom.trainer.resolved import EnvironmentChangedError, require_unchanged
from gradloom.trainer.step import NotFiniteError
from gradloom.trainer.user_code import UserCodeFault
from gradloom.v1 import job_pb2, spec_pb2

Job = job_pb2.Job
FAULTS = [FieldFault("spec.loss", "is wrong"), FieldFault("spec.model", "is wrong, too")]


def caused_by(cause):
    error = RuntimeError("saving failed")
    error.__cause__ = cause
    return error


def raised_by_user_code(error):
    return UserCodeFault("spec.user_code", "raised", error)


@pytest.mark.parametrize(
    ("error", "before_first_step", "reason"),
    [
        (InvalidRequestError(FAULTS), True, Job.SPEC_REFUSED),
        (DataUnavailable(FAULTS), True, Job.DATA_UNAVAILABLE),
        (EnvironmentChangedError("keras was 3.15.1, is 3.16.0"), True, Job.ENVIRONMENT_CHANGED),
        (ExportDisagreedError("differs by 1"), False, Job.EXPORT_DISAGREED),
        (NotFiniteError(7, "the loss"), False, Job.LOSS_NOT_FINITE),
        (ValueError("shapes do not fit"), True, Job.SPEC_REFUSED),
        (ValueError("shapes do not fit"), False, Job.TRAINER_RAISED),
        (tf.errors.InvalidArgumentError(None, None, "bad index"), True, Job.SPEC_REFUSED),
        (KeyError("x"), True, Job.TRAINER_RAISED),
        (MemoryError(), True, Job.OUT_OF_HOST_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False, Job.OUT_OF_HOST_MEMORY),
        (tf.errors.ResourceExhaustedError(None, None, "OOM on device:CPU:0"), True, Job.OUT_OF_HOST_MEMORY),
        (tf.errors.ResourceExhaustedError(None, None, "OOM on device:GPU:0"), False, Job.OUT_OF_DEVICE_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), False, Job.DISK_FULL),
        (caused_by(OSError(errno.EDQUOT, "Disk quota exceeded")), False, Job.DISK_FULL),
        (caused_by(RuntimeError("unable to write: No space left on device")), False, Job.DISK_FULL),
        (InvalidRequestError([raised_by_user_code(KeyError("x"))]), True, Job.USER_CODE_RAISED),
        (InvalidRequestError([raised_by_user_code(MemoryError())]), True, Job.OUT_OF_HOST_MEMORY),
        (InvalidRequestError([raised_by_user_code(caused_by(MemoryError()))]), True, Job.OUT_OF_HOST_MEMORY),
        (InvalidRequestError([raised_by_user_code(MemoryError()), *FAULTS]), True, Job.SPEC_REFUSED),
    ],
)
def test_the_reason_follows_from_the_exception_and_what_caused_it(error, before_first_step, reason):
    assert failure(error, before_first_step).reason == reason


def test_every_fault_is_told_and_the_sentence_names_the_first():
    told = failure(InvalidRequestError(FAULTS), before_first_step=True)
    assert [fault.field for fault in told.error.field_faults] == ["spec.loss", "spec.model"]
    assert told.message == "spec.loss: is wrong (and 1 more)"


def test_a_failure_in_a_graph_is_told_by_the_line_that_names_its_cause():
    text = """Graph execution error:

Detected at node functional/embed/GatherV2 defined at (most recent call last):
  File "loop.py", line 1, in step

{{function_node __inference__steps_1}} indices[0,3] = 8 is not in [0, 5)
\t [[{{node functional/embed/GatherV2}}]] [Op:__inference__steps_1]"""
    told = failure(tf.errors.InvalidArgumentError(None, None, text), before_first_step=False)
    assert told.message.endswith("InvalidArgumentError: indices[0,3] = 8 is not in [0, 5)")


def test_the_terminal_colours_of_keras_are_taken_out_of_message_and_log_lines():
    told = failure(ValueError("\x1b[1mInput 0 is incompatible\x1b[0m\nmore"), before_first_step=False)
    assert told.message == "ValueError: Input 0 is incompatible"
    assert told.error.message == "Input 0 is incompatible\nmore"
    assert "\x1b" not in "".join(told.error.log_lines)


def test_what_has_changed_is_named_by_its_source_and_its_group():
    stored = spec_pb2.ResolvedSpec(data=[spec_pb2.ResolvedData(source="train", sha256="ab")])
    found = spec_pb2.ResolvedSpec(data=[spec_pb2.ResolvedData(source="train", sha256="cd")])
    with pytest.raises(EnvironmentChangedError, match=r'data\.train\.sha256 was "ab", is "cd"'):
        require_unchanged(stored, found)


def test_what_says_it_all_comes_without_a_traceback():
    def raised(error):
        try:
            raise error
        except Exception as caught:
            return failure(caught, before_first_step=False)

    assert not raised(NotFiniteError(7, "the loss")).error.log_lines
    assert raised(ValueError("first\n\nsecond")).error.log_lines[-2:] == ["ValueError: first", "second"]
