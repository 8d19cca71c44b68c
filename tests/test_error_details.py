"""Whatever a call is refused with says why in a form that programs read: ErrorInfo always, and the detail that fits."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from gradloom.job import JobName
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import Api, Refusal, api_server, digits_job, refusal

Code = grpc.StatusCode
Job = job_pb2.Job
NONE = "projects/default/jobs/none"
ENDED = JobName("default", "ended")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """With one job, `ended`, which has failed and whose log is not the one that was recorded."""
    async with api_server(tmp_path) as running:
        attempt = running.claim(running.create(ENDED.job_id))
        (attempt.directory / "log" / "attempt.log").write_text("another line\n")
        digest = hashlib.sha256(b"the line\n").hexdigest()
        log = job_pb2.Artifact(path="log/attempt.log", kind=job_pb2.Artifact.LOG, size_bytes=9, sha256=digest)
        running.end(attempt, Job.TRAINER_RAISED, Job.FAILED, [log])
        yield running


def resource_of(refused: Refusal) -> tuple[str, str]:
    info = error_details_pb2.ResourceInfo()
    assert refused.details["ResourceInfo"].Unpack(info)
    assert info.description
    return info.resource_type, info.resource_name


def precondition_of(refused: Refusal) -> tuple[str, str]:
    failure = error_details_pb2.PreconditionFailure()
    assert refused.details["PreconditionFailure"].Unpack(failure)
    return failure.violations[0].type, failure.violations[0].subject


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetJob", service_pb2.GetJobRequest(name=NONE)),
        ("CancelJob", service_pb2.CancelJobRequest(name=NONE)),
        ("UpdateJob", service_pb2.UpdateJobRequest(job=Job(name=NONE))),
        ("DeleteJob", service_pb2.DeleteJobRequest(name=NONE)),
        ("PauseJob", service_pb2.PauseJobRequest(name=NONE)),
        ("ResumeJob", service_pb2.ResumeJobRequest(name=NONE)),
        ("RetryJob", service_pb2.RetryJobRequest(name=NONE)),
        ("ExplainJob", service_pb2.ExplainJobRequest(name=NONE)),
        ("WatchJob", service_pb2.WatchJobRequest(name=NONE)),
        ("StreamLogs", service_pb2.StreamLogsRequest(name=NONE)),
        ("StreamMetrics", service_pb2.StreamMetricsRequest(name=NONE)),
        ("ListAttempts", service_pb2.ListAttemptsRequest(parent=NONE)),
        ("ListCheckpoints", service_pb2.ListCheckpointsRequest(parent=NONE)),
        ("ListArtifacts", service_pb2.ListArtifactsRequest(parent=NONE)),
        ("DownloadArtifact", service_pb2.DownloadArtifactRequest(name=f"{NONE}/artifacts/a1-0")),
    ],
)
async def test_a_job_that_is_missing_is_named(api: Api, method: str, request_: object) -> None:
    refused = await refusal(getattr(api.stub, method)(request_))
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "NOT_FOUND")
    assert resource_of(refused) == ("gradloom.dev/Job", NONE)


async def test_a_part_of_a_job_that_is_missing_is_named(api: Api) -> None:
    name = ENDED.artifact("a1-0")
    refused = await refusal(api.stub.DownloadArtifact(service_pb2.DownloadArtifactRequest(name=name)))
    assert (refused.code, resource_of(refused)) == (Code.NOT_FOUND, ("gradloom.dev/Artifact", name))
    refused = await refusal(api.stub.StreamLogs(service_pb2.StreamLogsRequest(name=str(ENDED), attempt=7)))
    assert (refused.code, resource_of(refused)) == (Code.NOT_FOUND, ("gradloom.dev/Attempt", ENDED.attempt(7)))
    refused = await refusal(api.health_stub.Check(health_pb2.HealthCheckRequest(service="x.Y")))
    assert (refused.code, resource_of(refused)) == (Code.NOT_FOUND, ("service", "x.Y"))


@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_name_that_is_taken_is_named(api: Api, validate_only: bool) -> None:
    request = service_pb2.CreateJobRequest(job=digits_job(), job_id=ENDED.job_id, validate_only=validate_only)
    refused = await refusal(api.stub.CreateJob(request))
    assert (refused.code, resource_of(refused)) == (Code.ALREADY_EXISTS, ("gradloom.dev/Job", str(ENDED)))


async def test_a_file_that_has_changed_is_named(api: Api) -> None:
    (artifact,) = (await api.stub.ListArtifacts(service_pb2.ListArtifactsRequest(parent=str(ENDED)))).artifacts
    refused = await refusal(api.stub.DownloadArtifact(service_pb2.DownloadArtifactRequest(name=artifact.name)))
    assert (refused.code, refused.reason) == (Code.DATA_LOSS, "DATA_LOSS")
    assert resource_of(refused) == ("gradloom.dev/Artifact", artifact.name)


async def test_a_place_that_is_not_there_is_said_of_its_field(api: Api) -> None:
    (artifact,) = (await api.stub.ListArtifacts(service_pb2.ListArtifactsRequest(parent=str(ENDED)))).artifacts
    beyond = service_pb2.DownloadArtifactRequest(name=artifact.name, offset_bytes=10)
    refused = await refusal(api.stub.DownloadArtifact(beyond))
    assert (refused.code, refused.reason, refused.fields) == (Code.OUT_OF_RANGE, "CURSOR_EXPIRED", ["offset_bytes"])
    uid = api.store.snapshot(ENDED).uid.replace("-", "")
    for cursor in (f"{uid}.99", f"{uuid.uuid4().hex}.1"):
        refused = await refusal(api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(ENDED), cursor=cursor)))
        assert (refused.code, refused.fields) == (Code.OUT_OF_RANGE, ["cursor"])


async def test_a_state_and_an_etag_that_forbid_a_call_are_preconditions(api: Api) -> None:
    refused = await refusal(api.stub.CancelJob(service_pb2.CancelJobRequest(name=str(ENDED))))
    assert (refused.code, precondition_of(refused)) == (Code.FAILED_PRECONDITION, ("STATE", str(ENDED)))
    refused = await refusal(api.stub.DeleteJob(service_pb2.DeleteJobRequest(name=str(ENDED), etag="0")))
    assert (refused.code, precondition_of(refused)) == (Code.ABORTED, ("ETAG", str(ENDED)))


async def test_a_server_that_drains_says_when_to_ask_again(api: Api) -> None:
    api.training.drain()
    for call in (
        api.stub.CreateJob(service_pb2.CreateJobRequest(job=digits_job())),
        api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(ENDED))),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "SERVER_UNAVAILABLE")
        assert "RetryInfo" in refused.details


@pytest.mark.parametrize("path", ["/gradloom.v1.TrainingService/TrainJob", "/no.Service/Method", "/x", "/é"])
async def test_a_method_that_is_not_there_is_said_to_be_unknown(api: Api, path: str) -> None:
    for call in (api.channel.unary_unary(path)(b""), api.channel.unary_stream(path)(b"")):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (Code.UNIMPLEMENTED, "UNKNOWN_METHOD")
    labels = {"grpc_service": "gradloom.v1.TrainingService", "grpc_method": "TrainJob", "grpc_code": "UNIMPLEMENTED"}
    assert api.instruments.registry.get_sample_value("grpc_server_handled_total", labels) is None


async def test_a_request_that_is_too_large_is_told_its_limit(api: Api) -> None:
    limit = 4 << 20
    just_fits = service_pb2.DeleteJobRequest(name=NONE, etag="x" * (limit - 100))
    assert (await refusal(api.stub.DeleteJob(just_fits))).code is Code.NOT_FOUND
    for size in (limit, 60 << 20):
        request = service_pb2.DeleteJobRequest(name=NONE, etag="x" * size)
        refused = await refusal(api.stub.DeleteJob(request))
        told = f"must be at most {limit:,} bytes; got {request.ByteSize():,}"
        assert (refused.code, refused.violation("request")) == (Code.INVALID_ARGUMENT, told)
