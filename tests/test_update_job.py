"""UpdateJob, and what every mutation has of it: an etag that guards it, a request id that makes it happen once."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gradloom.errors import EtagMismatchError
from gradloom.job import JobName
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import Api, api_server, digits_job, now, refusal

Code = grpc.StatusCode
Job = job_pb2.Job
NAME = "projects/default/jobs/digits"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running:
        await running.stub.CreateJob(
            service_pb2.CreateJobRequest(
                job=digits_job(display_name="first try", labels={"team": "vision", "run": "1"}), job_id="digits"
            )
        )
        yield running


def update(*paths: str, request_id: str | None = None, **fields: object) -> service_pb2.UpdateJobRequest:
    mask = FieldMask(paths=paths) if paths else None
    job = Job(**{"name": NAME, **fields})  # type: ignore[arg-type]
    return service_pb2.UpdateJobRequest(job=job, update_mask=mask, request_id=request_id)


async def get(api: Api) -> job_pb2.Job:
    job: job_pb2.Job = await api.stub.GetJob(service_pb2.GetJobRequest(name=NAME))
    return job


def edited(job: job_pb2.Job) -> tuple[str, dict[str, str], int]:
    return job.display_name, dict(job.labels), job.priority


CREATED = ("first try", {"team": "vision", "run": "1"}, 0)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (update(display_name="better"), ("better", CREATED[1], 0)),
        (update(labels={"run": "2"}), ("first try", {"run": "2"}, 0)),
        (update(priority=-1000), ("first try", CREATED[1], -1000)),
        (update("labels.run", labels={"run": "2", "new": "x"}), ("first try", {"team": "vision", "run": "2"}, 0)),
        (
            update("labels.run", "labels.a/b.c", labels={"a/b.c": "x"}),
            ("first try", {"team": "vision", "a/b.c": "x"}, 0),
        ),
        (update("display_name", priority=7), ("digits", CREATED[1], 0)),
        (update("labels", "priority", priority=7), ("first try", {}, 7)),
        (update("*", display_name="all", priority=1), ("all", {}, 1)),
        (update(), CREATED),
    ],
)
async def test_an_update_changes_what_its_mask_says_and_nothing_else(api: Api, request_, expected) -> None:
    before = await get(api)
    updated = await api.stub.UpdateJob(request_)
    assert edited(updated) == expected
    assert await get(api) == updated
    assert (updated.spec, updated.state, updated.uid) == (before.spec, before.state, before.uid)
    assert (updated.etag == before.etag) == (expected == CREATED)


async def test_a_job_that_was_read_can_be_sent_back_whole_but_not_with_another_spec(api: Api) -> None:
    job = await get(api)
    job.labels["run"] = "3"
    assert (await api.stub.UpdateJob(service_pb2.UpdateJobRequest(job=job))).labels["run"] == "3"
    job = await get(api)
    job.spec.training.epochs += 1
    refused = await refusal(api.stub.UpdateJob(service_pb2.UpdateJobRequest(job=job)))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["spec"])


async def test_an_update_is_told_in_the_events_and_one_that_changes_nothing_is_not(api: Api) -> None:
    uid = (await get(api)).uid
    await api.stub.UpdateJob(update(display_name="better", priority=5))
    before = await get(api)
    assert await api.stub.UpdateJob(update(display_name="better", priority=5)) == before
    _, *notices = api.store.events_after(uid, 0)
    assert [(event.number, event.message) for event in notices] == [
        (2, 'a user changed display_name to "better", priority from 0 to 5')
    ]


async def test_an_update_with_a_stale_etag_is_aborted_and_changes_nothing(api: Api) -> None:
    read = await get(api)
    await api.stub.UpdateJob(update(priority=1, etag=read.etag))
    refused = await refusal(api.stub.UpdateJob(update(priority=2, etag=read.etag)))
    assert (refused.code, refused.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    assert "PreconditionFailure" in refused.details
    assert (await get(api)).priority == 1


async def test_the_etag_guards_against_a_change_of_state(api: Api) -> None:
    read = await get(api)
    api.claim(JobName.parse(NAME))
    with pytest.raises(EtagMismatchError):
        api.store.update_job(JobName.parse(NAME), Job(etag=read.etag, priority=1), ["priority"], None, "", now())


async def test_a_job_that_has_ended_can_still_be_labelled(api: Api) -> None:
    await api.stub.CancelJob(service_pb2.CancelJobRequest(name=NAME))
    assert (await api.stub.UpdateJob(update("labels.kept", labels={"kept": "yes"}))).labels["kept"] == "yes"


async def test_a_repeated_update_gives_the_first_result_though_the_job_has_changed_since(api: Api) -> None:
    request = update(display_name="first", request_id=str(uuid.uuid4()))
    first = await api.stub.UpdateJob(request)
    await api.stub.UpdateJob(update(display_name="second"))
    assert await api.stub.UpdateJob(request) == first
    assert (await get(api)).display_name == "second"
    request.job.display_name = "third"
    refused = await refusal(api.stub.UpdateJob(request))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["request_id"])


async def test_a_repeat_shows_the_resolved_spec_only_where_the_first_result_did(api: Api) -> None:
    attempt = api.claim(JobName.parse(NAME))
    before, after = [update(labels={"n": n}, request_id=str(uuid.uuid4())) for n in "12"]
    unresolved = await api.stub.UpdateJob(before)
    resolved = job_pb2.Job().resolved_spec
    resolved.replicas = 3
    api.store.record_resolved_spec(attempt.uid, 1, resolved, now())
    assert (await api.stub.UpdateJob(after)).resolved_spec.replicas == 3
    assert (await api.stub.UpdateJob(after)).resolved_spec.replicas == 3
    assert await api.stub.UpdateJob(before) == unresolved
    assert not unresolved.HasField("resolved_spec")


async def test_every_fault_of_an_update_is_told_at_once_and_nothing_is_changed(api: Api) -> None:
    before = await get(api)
    paths = ("labels", "priority", "prioritty", "spec.training", "labels.")
    request = update(*paths, labels={"Bad": "x", "good": "y" * 64}, priority=1001, name="x")
    refused = await refusal(api.stub.UpdateJob(request))
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.fields == [
        "job.name",
        "update_mask.paths[2]",
        "update_mask.paths[3]",
        "update_mask.paths[4]",
        "priority",
        'labels["Bad"]',
        'labels["good"]',
    ]
    assert 'did you mean "priority"' in refused.violation("update_mask.paths[2]")
    assert await get(api) == before


@pytest.mark.parametrize("key", ["Team", "`team`", "team lead", "", "a" * 64])
async def test_a_path_to_what_can_be_no_label_is_refused_and_changes_nothing(api: Api, key: str) -> None:
    before = await get(api)
    refused = await refusal(api.stub.UpdateJob(update("priority", f"labels.{key}", priority=7)))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["update_mask.paths[1]"])
    told = refused.violation("update_mask.paths[1]")
    assert told.startswith("must name a key of labels, which matches [a-z]([-_a-z0-9./]{0,62}); got ")
    assert f'"labels.{key}"' in told
    assert await get(api) == before


async def test_labels_that_are_added_one_by_one_have_the_same_limit(api: Api) -> None:
    more = {f"label-{number}": "x" for number in range(63)}
    refused = await refusal(api.stub.UpdateJob(update(*(f"labels.{key}" for key in more), labels=more)))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["labels"])
    more.popitem()
    assert len((await api.stub.UpdateJob(update(*(f"labels.{key}" for key in more), labels=more))).labels) == 64


async def test_an_unknown_job_is_not_found(api: Api) -> None:
    refused = await refusal(api.stub.UpdateJob(update(priority=1, name="projects/default/jobs/none")))
    assert refused.code is Code.NOT_FOUND
