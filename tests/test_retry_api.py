"""RetryJob and ListCheckpoints over real gRPC and a real store: a new job of an old one, checked as any other."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from gradloom.job import JobName
from gradloom.v1 import job_pb2, service_pb2, spec_pb2
from tests.api_server import Api, api_server, digits_job, now, refusal
from tests.stores import a_checkpoint, completed, report

Code = grpc.StatusCode
Job = job_pb2.Job
OLD = "projects/default/jobs/old"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running:
        yield running


async def ended(api: Api, job_id: str = "old", state: int = Job.FAILED, **fields: Any) -> job_pb2.Job:
    """A job that has trained into its third epoch, with two checkpoints on record, and has ended."""
    job = digits_job(labels={"team": "vision"})
    job.spec.training.epochs = 3
    job.MergeFrom(job_pb2.Job(**fields))
    created = await api.stub.CreateJob(service_pb2.CreateJobRequest(job_id=job_id, job=job))
    attempt = api.claim(JobName.parse(created.name), job_id)
    resolved = spec_pb2.ResolvedSpec(spec=created.spec, replicas=1)
    api.store.record_resolved_spec(attempt.uid, 1, resolved, now())
    for step in (10, 30):
        api.store.record_checkpoint(attempt.uid, 1, a_checkpoint(step, epoch=step // 10), now())
    api.end(attempt, Job.TRAINER_RAISED, state)
    return await api.stub.GetJob(service_pb2.GetJobRequest(name=created.name))


def retry(spec: dict[str, Any] | None = None, mask: list[str] | None = None, **fields: Any) -> Any:
    """A request; `spec` is what is changed in it."""
    request = service_pb2.RetryJobRequest(name=OLD, **fields)
    if spec is not None:
        request.job.spec.CopyFrom(spec_pb2.JobSpec(**spec))
    if mask is not None:
        request.update_mask.CopyFrom(field_mask_pb2.FieldMask(paths=mask))
    return request


async def test_a_retry_from_scratch_is_a_new_job_of_the_same_spec_and_the_old_one_stays(api: Api) -> None:
    old = await ended(api)
    new = await api.stub.RetryJob(retry(job_id="new"))
    assert (new.name, new.state, new.attempt_count) == ("projects/default/jobs/new", Job.QUEUED, 0)
    assert (new.retry_of, new.retry_checkpoint) == (OLD, "")
    assert (new.spec, new.labels, new.display_name) == (old.spec, old.labels, old.display_name)
    assert new.uid != old.uid
    assert not new.HasField("resolved_spec")
    assert await api.stub.GetJob(service_pb2.GetJobRequest(name=OLD)) == old
    assert await api.stub.GetJob(service_pb2.GetJobRequest(name=new.name)) == new
    value = api.instruments.registry.get_sample_value
    assert value("gradloom_jobs_created_total") == 2


@pytest.mark.parametrize("state", [Job.FAILED, Job.CANCELLED, Job.SUCCEEDED])
async def test_whatever_has_ended_is_retried_and_nothing_else(api: Api, state: int) -> None:
    name = JobName.parse((await api.stub.CreateJob(service_pb2.CreateJobRequest(job_id="old", job=digits_job()))).name)
    refused = await refusal(api.stub.RetryJob(retry()))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "WRONG_STATE")
    assert "PreconditionFailure" in refused.details
    attempt = api.claim(name)
    assert (await refusal(api.stub.RetryJob(retry()))).code is Code.FAILED_PRECONDITION
    if state == Job.CANCELLED:
        api.store.cancel_job(name, None, "", now())
    if state == Job.SUCCEEDED:
        api.store.record_report(attempt.uid, 1, report(1), now())
        api.store.finish_attempt(attempt.uid, 1, completed(1), now())
    api.end(attempt, Job.TRAINER_RAISED, state)
    assert (await api.stub.RetryJob(retry())).retry_of == OLD


async def test_a_job_that_is_not_there_is_not_found(api: Api) -> None:
    assert (await refusal(api.stub.RetryJob(retry()))).code is Code.NOT_FOUND
    refused = await refusal(api.stub.RetryJob(service_pb2.RetryJobRequest()))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["name"])


async def test_fields_are_edited_by_what_is_set_or_by_a_mask(api: Api) -> None:
    await ended(api)
    edits = {"training": spec_pb2.TrainingSpec(epochs=7, global_batch_size=8)}
    new = await api.stub.RetryJob(retry(edits))
    assert (new.spec.training.epochs, new.spec.training.global_batch_size) == (7, 8)
    assert dict(new.labels) == {"team": "vision"}
    new = await api.stub.RetryJob(retry(edits, ["spec.training.epochs", "labels"]))
    assert (new.spec.training.epochs, new.spec.training.global_batch_size, dict(new.labels)) == (7, 32, {})


async def test_a_seed_is_kept_unless_it_is_cleared(api: Api) -> None:
    old = await ended(api)
    seeds = {(await api.stub.RetryJob(retry(mask=["spec.training.seed"]))).spec.training.seed for _ in range(3)}
    assert len(seeds | {old.spec.training.seed}) > 1
    assert (await api.stub.RetryJob(retry())).spec.training.seed == old.spec.training.seed


async def test_who_names_a_checkpoint_that_is_not_on_record_is_told_those_that_are(api: Api) -> None:
    await ended(api)
    refused = await refusal(api.stub.RetryJob(retry(checkpoint=f"{OLD}/checkpoints/1-31")))
    assert refused.violation("checkpoint") == 'must be on record: one of 1-30, 1-10; got "1-31"; did you mean "1-30"?'
    refused = await refusal(api.stub.RetryJob(retry(checkpoint=f"{OLD}/checkpoints/latest")))
    assert refused.violation("checkpoint") == 'must be on record: one of 1-30, 1-10; got "latest"'
    name = api.create("bare")
    api.end(api.claim(name), Job.TRAINER_RAISED, Job.FAILED)
    request = service_pb2.RetryJobRequest(name=str(name), checkpoint=f"{name}/checkpoints/1-31")
    told = (await refusal(api.stub.RetryJob(request))).violation("checkpoint")
    assert told == 'must be left out: the job has no checkpoint on record; got "1-31"'


async def test_edits_are_checked_as_a_new_job_is_all_faults_at_once(api: Api) -> None:
    await ended(api)
    edits = {
        "training": spec_pb2.TrainingSpec(epochs=0),
        "variable_groups": [spec_pb2.VariableGroup(name="all", match=["**"])],
    }
    refused = await refusal(api.stub.RetryJob(retry(edits, job_id="No Id", checkpoint=f"{OLD}/checkpoints/1-11")))
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.fields == ["checkpoint", "job_id", "spec.variable_groups[0].optimizer", "spec.training.epochs"]
    refused = await refusal(api.stub.RetryJob(retry(mask=["spec.training.epoch", "state"])))
    assert refused.fields == ["update_mask.paths[0]", "update_mask.paths[1]"]
    jobs = await api.stub.ListJobs(service_pb2.ListJobsRequest())
    assert [job.name for job in jobs.jobs] == [OLD]


async def test_a_retry_from_a_checkpoint_says_which(api: Api) -> None:
    old = await ended(api)
    new = await api.stub.RetryJob(retry(checkpoint=f"{OLD}/checkpoints/1-10"))
    assert (new.retry_of, new.retry_checkpoint) == (OLD, f"{OLD}/checkpoints/1-10")
    assert new.spec == old.spec
    source = api.store.retry_source_of(new.uid)
    assert source is not None
    assert source.checkpoint.checkpoint.global_step == 10


async def test_a_retry_shows_the_place_of_its_checkpoint_until_it_has_a_later_one_of_its_own(api: Api) -> None:
    await ended(api)
    checkpoint = f"{OLD}/checkpoints/1-30"
    new = await api.stub.RetryJob(retry({"training": spec_pb2.TrainingSpec(epochs=5)}, checkpoint=checkpoint))
    place = job_pb2.Progress(epoch=3, epochs=5, global_step=30)
    assert new.progress == place
    name = JobName.parse(new.name)
    # Its second one, of step 10, is the other job's best: nothing to go on from.
    for number, step, expected in ((1, None, 30), (2, 10, 30), (3, 40, 40)):
        attempt = api.claim(name, f"of-{number}")
        if step is not None:
            api.store.record_checkpoint(attempt.uid, number, a_checkpoint(step, epoch=3), now())
        api.end(attempt, Job.TRAINER_LOST, Job.QUEUED)
        place.global_step = expected
        told = (await api.stub.GetJob(service_pb2.GetJobRequest(name=new.name))).progress
        told.ClearField("checkpoint_step")
        assert told == place


async def test_what_may_not_differ_from_the_checkpoints_job_is_refused_by_its_field(api: Api) -> None:
    await ended(api)
    edits = {"training": spec_pb2.TrainingSpec(epochs=2, global_batch_size=8), "resources": {"cpu_replicas": 2}}
    refused = await refusal(api.stub.RetryJob(retry(edits, checkpoint=f"{OLD}/checkpoints/1-30")))
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.fields == ["spec.training.global_batch_size", "spec.training.epochs", "spec.resources"]
    edits = {"training": spec_pb2.TrainingSpec(epochs=5), "resources": {"cpu_replicas": 1}}
    new = await api.stub.RetryJob(retry(edits, checkpoint=f"{OLD}/checkpoints/1-30"))
    assert new.spec.training.epochs == 5


async def test_a_checkpoint_that_is_not_the_old_jobs_is_refused(api: Api) -> None:
    await ended(api)
    await ended(api, "other")
    ids = ["", "1-12", "../1-10", "1-10/", "x" * 100_000]
    others = ["1-10", f"{OLD}/artifacts/1-10", "projects/default/jobs/other/checkpoints/1-10"]
    for checkpoint in [*others, *(f"{OLD}/checkpoints/{checkpoint_id}" for checkpoint_id in ids)]:
        refused = await refusal(api.stub.RetryJob(retry(checkpoint=checkpoint)))
        assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["checkpoint"]), checkpoint


async def test_initial_weights_are_left_behind_with_a_checkpoint_and_kept_from_scratch(api: Api) -> None:
    await ended(api, "source")
    weights = spec_pb2.InitialWeights(job="source")
    await ended(api, spec=spec_pb2.JobSpec(model=spec_pb2.ModelSpec(initial_weights=weights)))
    assert (await api.stub.RetryJob(retry())).spec.model.initial_weights.job == "source"
    new = await api.stub.RetryJob(retry(checkpoint=f"{OLD}/checkpoints/1-30"))
    assert not new.spec.model.HasField("initial_weights")


async def test_a_repeated_request_makes_one_job_and_another_body_is_refused(api: Api) -> None:
    await ended(api)
    request = retry(request_id=str(uuid.uuid4()), checkpoint=f"{OLD}/checkpoints/1-10")
    first, second = await asyncio.gather(api.stub.RetryJob(request), api.stub.RetryJob(request))
    assert first == second
    attempt = api.claim(JobName.parse(first.name))
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    assert await api.stub.RetryJob(request) == first, "also when it has ended"
    request.job_id = "other"
    refused = await refusal(api.stub.RetryJob(request))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["request_id"])


async def test_a_taken_id_is_refused(api: Api) -> None:
    await ended(api)
    assert (await refusal(api.stub.RetryJob(retry(job_id="old")))).code is Code.ALREADY_EXISTS


ECHO = """
import base64, json, sys
question = json.load(sys.stdin)
from gradloom.attempt.v1 import attempt_pb2
from gradloom.v1 import spec_pb2
retry = attempt_pb2.Retry.FromString(base64.b64decode(question.get("retry", "")))
resolved = spec_pb2.ResolvedSpec(versions={"goes on from": retry.checkpoint.path})
print(json.dumps({"resolved_spec": base64.b64encode(resolved.SerializeToString()).decode()}))
"""


async def test_validating_asks_tensorflow_about_the_checkpoint_too_and_stores_nothing(tmp_path: Path) -> None:
    async with api_server(tmp_path, validator=(sys.executable, "-c", ECHO)) as api:
        old = await ended(api)
        request = retry(checkpoint=f"{OLD}/checkpoints/1-10", job_id="new", validate_only=True)
        told = await api.stub.RetryJob(request)
        file = f"{api.artifact_root}/{old.uid}/1/checkpoints/10.ckpt"
        assert dict(told.resolved_spec.versions) == {"goes on from": file}
        assert (told.retry_of, told.retry_checkpoint) == (OLD, request.checkpoint)
        request.ClearField("checkpoint")
        assert dict((await api.stub.RetryJob(request)).resolved_spec.versions) == {"goes on from": ""}
        assert len((await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs) == 1


async def test_a_draining_server_retries_nothing(api: Api) -> None:
    await ended(api)
    api.training.drain()
    assert (await refusal(api.stub.RetryJob(retry()))).code is Code.UNAVAILABLE


async def test_checkpoints_are_listed_newest_first(api: Api) -> None:
    await ended(api)
    request = service_pb2.ListCheckpointsRequest(parent=OLD, page_size=1)
    first = await api.stub.ListCheckpoints(request)
    request.page_token = first.next_page_token
    second = await api.stub.ListCheckpoints(request)
    listed = [*first.checkpoints, *second.checkpoints]
    assert [one.name for one in listed] == [f"{OLD}/checkpoints/1-30", f"{OLD}/checkpoints/1-10"]
    assert second.next_page_token == ""
    request.parent = "projects/default/jobs/none"
    assert (await refusal(api.stub.ListCheckpoints(request))).fields == ["page_token"]
    request.ClearField("page_token")
    assert (await refusal(api.stub.ListCheckpoints(request))).code is Code.NOT_FOUND
