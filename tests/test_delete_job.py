"""DeleteJob over real gRPC."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from prometheus_client import generate_latest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import BEARER, TIMEOUT_SECONDS, Api, api_server, digits_job, refusal

Code = grpc.StatusCode
Job = job_pb2.Job


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running, asyncio.timeout(TIMEOUT_SECONDS * 2):
        yield running


def delete(name: object, **fields: object) -> service_pb2.DeleteJobRequest:
    return service_pb2.DeleteJobRequest(name=str(name), **fields)  # type: ignore[arg-type]


async def test_a_repeated_delete_is_fine_also_when_the_name_has_another_job_by_then(api: Api) -> None:
    name = api.create()
    request = delete(name, force=True, request_id=str(uuid.uuid4()))
    await api.stub.DeleteJob(request)
    successor = api.store.get_job(api.create())
    await api.stub.DeleteJob(request)
    assert api.store.get_job(name) == successor
    assert (await refusal(api.stub.DeleteJob(delete(name)))).code is Code.FAILED_PRECONDITION


async def test_a_repeated_create_of_a_job_that_is_deleted_gives_the_first_result_and_creates_none(api: Api) -> None:
    request = service_pb2.CreateJobRequest(job_id="digits", job=digits_job(), request_id=str(uuid.uuid4()))
    created = await api.stub.CreateJob(request)
    await api.stub.DeleteJob(delete(created.name, force=True))
    assert await api.stub.CreateJob(request) == created
    api.store.forget_job(created.uid)
    repeated = await api.stub.CreateJob(request)
    assert (repeated.uid, repeated.state, repeated.HasField("spec")) == (created.uid, created.state, False)
    refused = await refusal(api.stub.GetJob(service_pb2.GetJobRequest(name=created.name)))
    assert refused.code is Code.NOT_FOUND


async def test_a_missing_job_is_not_found_unless_it_may_be_missing(api: Api) -> None:
    name = "projects/default/jobs/none"
    assert (await refusal(api.stub.DeleteJob(delete(name)))).code is Code.NOT_FOUND
    await api.stub.DeleteJob(delete(name, allow_missing=True, request_id=str(uuid.uuid4())))


async def test_whoever_watches_a_job_or_reads_its_log_is_told_when_it_is_deleted(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    (attempt.directory / "log" / "attempt.log").write_text("a line\n")
    watch = api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name)))
    logs = api.stub.StreamLogs(service_pb2.StreamLogsRequest(name=str(name), follow=True))
    assert (await watch.read()).job.state == Job.STARTING
    assert (await logs.read()).lines == ["a line"]
    await api.stub.DeleteJob(delete(name, force=True))
    for stream in (watch, logs):
        assert (await refusal(stream.read())).code is Code.NOT_FOUND
    api.end(attempt, Job.CANCELLED_BY_USER, Job.CANCELLED)
    assert (await refusal(api.stub.GetJob(service_pb2.GetJobRequest(name=str(name))))).code is Code.NOT_FOUND


async def test_a_deleted_job_is_counted_and_leaves_no_series_to_its_name(api: Api) -> None:
    value = api.instruments.registry.get_sample_value
    await api.stub.DeleteJob(delete(api.create("waiting"), force=True))
    assert value("gradloom_jobs_finished_total", {"state": "CANCELLED", "reason": "CANCELLED_BY_USER"}) == 1
    name = api.create("running")
    attempt = api.claim(name)
    api.instruments.attempt_reported(
        attempt.uid, attempt.name, 1, attempt_pb2.ReportRequest(beat=1, steps=5, mean_step_seconds=0.1)
    )
    labels = {"project": "default", "job_id": "running"}
    assert value("gradloom_job_steps_total", labels) == 5
    await api.stub.DeleteJob(delete(name, force=True))
    assert value("gradloom_job_steps_total", labels) is None
    report = attempt_pb2.ReportRequest(beat=2, steps=5, mean_step_seconds=0.1)
    await api.attempt_stub.Report(report, metadata=BEARER)
    assert b"gradloom_job_steps_total{" not in generate_latest(api.instruments.registry)


async def test_a_stale_etag_is_aborted(api: Api) -> None:
    name = api.create()
    refused = await refusal(api.stub.DeleteJob(delete(name, etag="0123456789abcdef", force=True)))
    assert (refused.code, refused.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    assert api.store.get_job(name).state == Job.QUEUED
