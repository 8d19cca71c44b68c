"""Every reason has a hint that a person can act on."""

import re

import pytest

from gradloom.job import REASON_RULES, JobName, reason_name
from gradloom.jobs.hints import HINTS, hint
from gradloom.settings import TABLE
from gradloom.v1 import job_pb2, spec_pb2

REASONS = [number for number in job_pb2.Job.Reason.values() if number]


def test_every_reason_has_one_hint() -> None:
    assert set(HINTS) == set(REASONS) == set(REASON_RULES)


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_hint_names_the_job_as_the_command_line_takes_it_and_fields_and_settings_that_exist(reason: int) -> None:
    told = hint(reason, JobName("default", "digits"), 2)
    assert "{" not in told
    assert told.endswith(".")
    assert hint(reason, JobName("vision", "digits"), 2) == told.replace(" digits", " projects/vision/jobs/digits")
    flags = {setting.flag for setting in TABLE}
    for flag in re.findall(r"--[a-z-]+", re.sub(r"`gradloom [^`]+`", "", told)):
        assert flag in flags
    for path in re.findall(r"\b(?:spec|training)\.[a-z_.]+[a-z]", told):
        assert_is_field(path)
    runs = re.search(r"`(?:gradloom|journalctl|nvidia-smi)\b", told)
    assert runs or reason == job_pb2.Job.SERVER_STOPPED, "says which command to run; of that one nobody need"


def assert_is_field(path: str) -> None:
    """`training.epochs` and `spec.retry` are fields of a job's spec."""
    message = spec_pb2.JobSpec.DESCRIPTOR
    for name in path.removeprefix("spec.").split("."):
        assert name in message.fields_by_name, f"{path}: {message.name} has no {name}"
        message = message.fields_by_name[name].message_type
