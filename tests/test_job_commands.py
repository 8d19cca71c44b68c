"""The commands that change, explain and list jobs, against the API over a real store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradloom.client.cli import cli
from gradloom.documents import job_to_dict
from gradloom.job import JobName
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import Api, api_server, digits_job

NAME = "projects/default/jobs/digits"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running:
        yield running


async def gradloom(api: Api, *arguments: str, given: str | None = None) -> Result:
    """Runs a command in this process, nobody at its terminal."""
    environment = {"GRADLOOM_SERVER": api.address, "TZ": "UTC"}
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, given, environment)


async def done(api: Api, *arguments: str, given: str | None = None) -> str:
    """What a command prints that does what it should."""
    result = await gradloom(api, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.stdout


async def job(api: Api, name: str = NAME) -> job_pb2.Job:
    return await api.stub.GetJob(service_pb2.GetJobRequest(name=name))


def ended(api: Api, job_id: str = "digits", state: int = job_pb2.Job.FAILED) -> JobName:
    """A job whose one attempt has ended."""
    name = api.create(job_id)
    api.end(api.claim(name), job_pb2.Job.TRAINER_RAISED, state)
    return name


SIX_FAULTS = """
labels: {size: 5}
spec:
  model:
    layers:
      - {type: Input, config: {shape: [8, 8]}}
      - {type: Flatten}
      - {typ: Dense, config: {units: 10}}
  data: {train: {builtin: {name: digitz}}}
  loss: {type: SparseCategoricalCrossentropy, config: {from_logit: true}}
  variable_groups:
    - {name: all, match: ["**"], optimizer: adam}
  training: {epochs: many, global_batch_size: 0}
"""


@pytest.mark.parametrize("command", ["validate", "submit"])
async def test_a_file_with_faults_of_every_kind_tells_them_at_once_and_invents_none(api: Api, command: str) -> None:
    refused = await gradloom(api, command, "-", given=SIX_FAULTS)
    assert refused.exit_code == 2
    assert [line.split(": ")[0].strip() for line in refused.stderr.splitlines()[1:]] == [
        "labels.size",
        "spec.model.layers[2].typ",
        "spec.variable_groups[0].optimizer",
        "spec.training.epochs",
        "spec.data.train.builtin.name",
        "spec.loss.config.from_logit",
        "spec.training.global_batch_size",
    ]
    assert (await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs == []


async def test_update_changes_what_is_given_and_leaves_the_rest(api: Api) -> None:
    api.create()
    await done(api, "update", "digits", "--label", "team=vision", "--label", "a.b/c=x", "--priority", "5")
    shown = await done(api, "update", "digits", "--remove-label", "team", "--display-name", "größer", "-o", "json")
    changed = await job(api)
    assert json.loads(shown)["display_name"] == changed.display_name == "größer"
    assert (dict(changed.labels), changed.priority) == ({"a.b/c": "x"}, 5)
    assert "priority  5" in await done(api, "get", "digits")
    for wrong in ((), ("--label", "team")):
        assert (await gradloom(api, "update", "digits", *wrong)).exit_code == 2


async def test_lists_are_filtered_and_ordered_by_the_server(api: Api) -> None:
    for number, job_id in enumerate(("a", "b", "c")):
        api.create(job_id)
        await done(api, "update", job_id, "--priority", str(number % 2), "--label", f"team=t{number % 2}")
    ended(api, "over")
    lines = await done(api, "list", "--filter", "state = QUEUED", "--order-by", "priority desc, job_id")
    assert [line.split()[0] for line in lines.splitlines()] == ["JOB", "b", "a", "c"]
    lines = await done(api, "list", "--filter", "labels.team = t0 AND NOT job_id = c")
    assert [line.split()[0] for line in lines.splitlines()] == ["JOB", "a"]
    assert (await gradloom(api, "list", "--filter", "job_id = none")).stderr == "No job matches the filter.\n"
    refused = await gradloom(api, "list", "--filter", "colour = red")
    assert (refused.exit_code, "colour" in refused.stderr) == (2, True)


async def test_what_somebody_else_has_changed_meanwhile_is_not_changed_over_it(api: Api) -> None:
    api.create()
    seen = json.loads(await done(api, "get", "digits", "-o", "json"))["etag"]
    await done(api, "update", "digits", "--priority", "5", "--etag", seen)
    for command in (("update", "--priority", "9"), ("pause",), ("delete",)):
        refused = await gradloom(api, command[0], "digits", *command[1:], "--etag", seen)
        assert refused.exit_code == 4
        assert "gradloom get digits" in refused.stderr
    now = await job(api)
    assert (now.priority, now.state) == (5, job_pb2.Job.QUEUED)


async def test_a_paused_job_waits_until_it_is_resumed(api: Api) -> None:
    api.create()
    assert await done(api, "pause", "digits") == f"PAUSED {NAME}\n"
    assert (await job(api)).state == job_pb2.Job.PAUSED
    assert await done(api, "resume", "digits") == f"QUEUED {NAME}\n"
    assert (await job(api)).state == job_pb2.Job.QUEUED
    ended(api, "other")
    assert (await gradloom(api, "pause", "other")).exit_code == 4


async def test_a_deleted_job_is_gone_and_a_live_one_needs_force(api: Api) -> None:
    ended(api)
    api.create("waiting")
    assert await done(api, "delete", "digits") == "deleted digits\n"
    refused = await gradloom(api, "delete", "waiting")
    assert (refused.exit_code, "with force" in refused.stderr) == (4, True)
    assert [line.split()[0] for line in (await done(api, "list")).splitlines()] == ["JOB", "waiting"]
    assert await done(api, "delete", "waiting", "--force", "-o", "json") == "{}\n"
    assert (await gradloom(api, "delete", "waiting")).exit_code == 4
    await done(api, "delete", "waiting", "--allow-missing")
    assert "No jobs yet" in (await gradloom(api, "list")).stderr


async def test_commands_that_change_jobs_take_several_and_go_on_after_one_that_fails(api: Api) -> None:
    for job_id in ("a", "b", "c"):
        api.create(job_id)
    ended(api, "over")
    for command, state in (("pause", "PAUSED"), ("resume", "QUEUED"), ("cancel", "CANCELLED")):
        result = await gradloom(api, command, "a", "over", "none", "c", "a")
        assert result.stdout == f"{state} projects/default/jobs/a\n{state} projects/default/jobs/c\n"
        failures = [line for line in result.stderr.splitlines() if line.startswith("gradloom: ")]
        assert [name for line in failures for name in ("over", "none") if f"jobs/{name}" in line] == ["over", "none"]
        assert result.exit_code == 4
    assert (await done(api, "update", "a", "c", "--priority", "7")).split() == [
        f"projects/default/jobs/{x}" for x in "ac"
    ]
    refused = await gradloom(api, "update", "none", "a", "--priority", "7777")
    assert (refused.exit_code, refused.stderr.count("refused: ")) == (2, 2)
    assert await done(api, "delete", "a", "over") == "deleted a\ndeleted over\n"
    result = await gradloom(api, "delete", "a", "b", "c")
    assert (result.stdout, result.exit_code) == ("deleted c\n", 4)
    assert [line.split()[0] for line in (await done(api, "list")).splitlines()] == ["JOB", "b"]


async def test_the_jobs_that_a_command_changed_are_json_one_after_the_other(api: Api) -> None:
    api.create("a")
    api.create("b")
    printed = await done(api, "cancel", "a", "b", "-o", "json")
    first, end = json.JSONDecoder().raw_decode(printed)
    second = json.loads(printed[end:])
    assert [first["name"], second["name"]] == ["projects/default/jobs/a", "projects/default/jobs/b"]


@pytest.mark.parametrize("command", [("pause",), ("resume",), ("delete",), ("update", "--priority", "1")])
async def test_an_etag_is_of_one_job_alone(api: Api, command: tuple[str, ...]) -> None:
    refused = await gradloom(api, *command, "a", "b", "--etag", "e")
    assert (refused.exit_code, "--etag is of one job; got 2 jobs" in refused.stderr) == (2, True)


async def test_explain_tells_of_the_jobs_before_one_in_the_queue(api: Api) -> None:
    api.claim(api.create("running"))
    api.create("before")
    api.create()
    await done(api, "update", "before", "--priority", "3")
    shown = await done(api, "explain", "digits")
    assert shown.startswith("QUEUED  digits")
    assert "position  2" in shown
    ahead, holders = shown.split("ahead in the queue:")[1].split("holding the devices:")
    assert "before" in ahead
    assert "running" in holders


async def test_a_retry_is_a_new_job_with_the_changes(api: Api) -> None:
    await done(api, "submit", "-", "--job-id", "digits", given=json.dumps(job_to_dict(digits_job())))
    api.end(api.claim(JobName("default", "digits")), job_pb2.Job.TRAINER_RAISED, job_pb2.Job.FAILED)
    rate = "spec.variable_groups[0].optimizer.config.learning_rate=1e-4"
    created = await done(
        api, "retry", "digits", "-", "--set", rate, "--job-id", "again", given="spec: {training: {epochs: 4}}"
    )
    assert created == "projects/default/jobs/again\n"
    old, new = await job(api), await job(api, "projects/default/jobs/again")
    assert (new.retry_of, new.state, old.state) == (NAME, job_pb2.Job.QUEUED, job_pb2.Job.FAILED)
    expected = job_pb2.Job(spec=old.spec)
    expected.spec.training.epochs = 4
    expected.spec.variable_groups[0].optimizer.config["learning_rate"] = 1e-4
    assert new.spec == expected.spec
    assert "retry of  digits" in await done(api, "get", "again")
    refused = await gradloom(api, "retry", "again")
    assert (refused.exit_code, "QUEUED" in refused.stderr) == (4, True)
    assert (await gradloom(api, "retry", "digits", "--from", "newest")).exit_code == 4


async def test_submit_takes_a_priority_over_the_file_s(api: Api) -> None:
    document = {"priority": 1, "spec": json.loads(await submitted(api))["spec"]}
    await done(api, "submit", "-", "--priority", "7", "--job-id", "urgent", given=json.dumps(document))
    assert (await job(api, "projects/default/jobs/urgent")).priority == 7


async def submitted(api: Api) -> str:
    """A job as JSON, whose spec can be submitted again."""
    api.create()
    return await done(api, "get", "digits", "-o", "json")
