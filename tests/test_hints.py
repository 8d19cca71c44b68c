"""Every reason has a hint that a person can act on."""

import re
import shlex

import click
import pytest

from gradloom.client.cli import cli
from gradloom.job import REASON_RULES, JobName, reason_name
from gradloom.jobs.hints import HINTS, Standing, hint
from gradloom.settings import TABLE
from gradloom.v1 import job_pb2, spec_pb2

REASONS = [number for number in job_pb2.Job.Reason.values() if number]
CODE = re.compile(r"`([^`]+)`")


def told(
    reason: int, project: str = "default", *, has_checkpoint: bool, has_failed: bool = True, broken: str = ""
) -> str:
    faults = [job_pb2.FieldFault(field=broken, description="its gradient is not finite at step 2")] if broken else []
    error = job_pb2.JobError(field_faults=faults)
    return hint(reason, JobName(project, "digits"), 2, error, Standing(has_checkpoint, has_failed))


def test_every_reason_has_one_hint() -> None:
    assert set(HINTS) == set(REASONS) == set(REASON_RULES)


@pytest.mark.parametrize("has_checkpoint", [False, True])
@pytest.mark.parametrize("has_failed", [False, True])
@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_the_commands_options_settings_and_fields_that_a_hint_names_exist(
    reason: int, has_failed: bool, has_checkpoint: bool
) -> None:
    said = told(reason, has_checkpoint=has_checkpoint, has_failed=has_failed)
    commands = [shlex.split(code)[1:] for code in CODE.findall(said) if code.startswith("gradloom ")]
    runs = commands or "`journalctl" in said
    nobody_need = not has_failed and reason in (job_pb2.Job.SERVER_STOPPED, job_pb2.Job.LAUNCH_FAILED)
    assert runs or nobody_need, "says which command to run"
    for command, *arguments in commands:
        known = cli.commands[command]
        known.make_parser(click.Context(known)).parse_args(arguments)
    loose = [shlex.split(code)[0] for code in CODE.findall(said) if code.startswith("--")]
    options = {option for command, *_ in commands for each in cli.commands[command].params for option in each.opts}
    assert set(loose) <= options
    settings = {setting.flag for setting in TABLE}
    assert set(re.findall(r"--[a-z-]+", CODE.sub("", said))) <= settings
    for path in re.findall(r"\bspec\.[a-z_.]+[a-z]", said):
        assert_is_field(path)


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_hint_speaks_of_a_checkpoint_only_where_there_is_one(reason: int) -> None:
    without = told(reason, has_checkpoint=False)
    assert "--from" not in without
    assert "newest checkpoint" not in without
    assert "if it has" not in told(reason, has_checkpoint=True)


def test_a_hint_goes_on_from_the_checkpoint_that_there_is() -> None:
    said = told(job_pb2.Job.CANCELLED_BY_USER, has_checkpoint=True)
    assert said.startswith("`gradloom retry digits --from newest` makes a new job")
    said = told(job_pb2.Job.SERVER_STOPPED, has_checkpoint=True, has_failed=False)
    assert "its next attempt goes on from its newest checkpoint" in said


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_hint_of_a_failed_job_speaks_of_no_next_attempt(reason: int) -> None:
    said = told(reason, has_checkpoint=True, has_failed=True)
    assert "next attempt" not in said
    assert "by itself" not in said
    if REASON_RULES[reason].lost:
        assert "`gradloom retry digits --from newest` makes a new job" in said


@pytest.mark.parametrize(
    ("broken", "edit"),
    [
        (
            "spec.variable_groups[1].optimizer.config.learning_rate",
            "spec.variable_groups[1].optimizer.config.learning_rate=1e-4",
        ),
        ("spec.variable_groups[12].learning_rate", "spec.variable_groups[12].clip_norm=1"),
        ("", "spec.training.clip_norm=1"),
        ("spec.variable_groups[1].learning_rate'; rm -r ~; '", "spec.training.clip_norm=1"),
    ],
)
def test_what_diverged_is_mended_in_the_group_that_broke(broken: str, edit: str) -> None:
    said = told(job_pb2.Job.LOSS_NOT_FINITE, has_checkpoint=True, broken=broken)
    assert f"`gradloom retry digits --set '{edit}' --from newest`" in said


def assert_is_field(path: str) -> None:
    """Such as `spec.training.epochs`; below a list nothing is looked at."""
    message = spec_pb2.JobSpec.DESCRIPTOR
    for name in path.removeprefix("spec.").split("."):
        assert name in message.fields_by_name, f"{path}: {message.name} has no {name}"
        message = message.fields_by_name[name].message_type


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_a_hint_names_the_job_as_the_command_line_takes_it(reason: int) -> None:
    said = told(reason, has_checkpoint=True)
    assert "{" not in said
    assert said.endswith(".")
    assert told(reason, "vision", has_checkpoint=True) == said.replace(" digits", " projects/vision/jobs/digits")
