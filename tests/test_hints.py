"""Every reason has a hint that a person can act on."""

import re
import shlex

import click
import pytest

from gradloom.client.cli import cli
from gradloom.job import REASON_RULES, JobName, reason_name
from gradloom.jobs.hints import HINTS, hint
from gradloom.settings import TABLE
from gradloom.v1 import job_pb2, spec_pb2

REASONS = [number for number in job_pb2.Job.Reason.values() if number]
CODE = re.compile(r"`([^`]+)`")


def test_every_reason_has_one_hint() -> None:
    assert set(HINTS) == set(REASONS) == set(REASON_RULES)


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_the_commands_options_settings_and_fields_that_a_hint_names_exist(reason: int) -> None:
    told = hint(reason, JobName("default", "digits"), 2)
    commands = [shlex.split(code)[1:] for code in CODE.findall(told) if code.startswith("gradloom ")]
    runs = commands or "`journalctl" in told
    assert runs or reason == job_pb2.Job.SERVER_STOPPED, "says which command to run; of that one nobody need"
    for command, *arguments in commands:
        known = cli.commands[command]
        known.make_parser(click.Context(known)).parse_args(arguments)
    loose = [shlex.split(code)[0] for code in CODE.findall(told) if code.startswith("--")]
    options = {option for command, *_ in commands for each in cli.commands[command].params for option in each.opts}
    assert set(loose) <= options
    settings = {setting.flag for setting in TABLE}
    assert set(re.findall(r"--[a-z-]+", CODE.sub("", told))) <= settings
    for path in re.findall(r"\bspec\.[a-z_.]+[a-z]", told):
        assert_is_field(path)


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_command_of_a_hint_needs_no_checkpoint_for_not_every_job_has_one(reason: int) -> None:
    told = hint(reason, JobName("default", "digits"), 2)
    assert [code for code in CODE.findall(told) if code.startswith("gradloom ") and "--from" in code] == []
    assert ("`--from newest`" in told) == ("where it has a checkpoint" in told)


def assert_is_field(path: str) -> None:
    """Such as `spec.training.epochs`; below a list nothing is looked at."""
    message = spec_pb2.JobSpec.DESCRIPTOR
    for name in path.removeprefix("spec.").split("."):
        assert name in message.fields_by_name, f"{path}: {message.name} has no {name}"
        message = message.fields_by_name[name].message_type


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_hint_names_the_job_as_the_command_line_takes_it(reason: int) -> None:
    told = hint(reason, JobName("default", "digits"), 2)
    assert "{" not in told
    assert told.endswith(".")
    assert hint(reason, JobName("vision", "digits"), 2) == told.replace(" digits", " projects/vision/jobs/digits")
