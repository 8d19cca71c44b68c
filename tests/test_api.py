"""The public methods over real gRPC and a real store; whatever is odd about a request is never INTERNAL."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gradloom.job import JobName
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import TIMEOUT_SECONDS, Api, api_server, digits_job, now, refusal

Code = grpc.StatusCode
Job = job_pb2.Job


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running:
        yield running


def create(**fields: object) -> service_pb2.CreateJobRequest:
    return service_pb2.CreateJobRequest(**{"job": digits_job(), **fields})


async def test_a_created_job_waits_and_has_its_defaults_and_a_seed(api: Api) -> None:
    job = await api.stub.CreateJob(create(job_id="digits"))
    assert (job.name, Job.State.Name(job.state)) == ("projects/default/jobs/digits", "QUEUED")
    assert uuid.UUID(job.uid).version == 4
    assert job.spec.training.global_batch_size == 32
    assert job.spec.training.HasField("seed")
    assert await api.stub.GetJob(service_pb2.GetJobRequest(name=job.name)) == job


async def test_a_job_without_an_id_gets_one_that_tells_its_model(api: Api) -> None:
    first, second = [await api.stub.CreateJob(create()) for _ in range(2)]
    assert first.name.startswith("projects/default/jobs/digits-")
    assert first.name != second.name


async def test_a_job_of_another_project_is_found_there_alone(api: Api) -> None:
    await api.stub.CreateJob(create(parent="projects/vision", job_id="a"))
    refused = await refusal(api.stub.GetJob(service_pb2.GetJobRequest(name="projects/default/jobs/a")))
    assert refused.code is Code.NOT_FOUND
    assert (await api.stub.GetJob(service_pb2.GetJobRequest(name="projects/vision/jobs/a"))).name


async def test_what_a_user_sets_of_the_output_is_ignored(api: Api) -> None:
    job = digits_job()
    job.name, job.uid, job.state, job.state_message, job.attempt_count = "x", "y", Job.SUCCEEDED, "z", 9
    created = await api.stub.CreateJob(create(job=job, job_id="digits"))
    assert (created.name, created.state, created.state_message) == ("projects/default/jobs/digits", Job.QUEUED, "")
    assert created.attempt_count == 0


async def test_a_job_of_which_fields_could_not_be_read_is_refused_with_the_faults_of_the_rest(api: Api) -> None:
    job = digits_job()
    job.spec.ClearField("loss")
    job.spec.training.global_batch_size = 0
    for validate_only in (False, True):
        request = service_pb2.CreateJobRequest(job=job, unread_fields=["spec.loss"], validate_only=validate_only)
        refused = await refusal(api.stub.CreateJob(request))
        assert (refused.code, refused.fields) == (
            Code.INVALID_ARGUMENT,
            ["spec.training.global_batch_size", "unread_fields"],
        )
    sound = service_pb2.CreateJobRequest(job=digits_job(), unread_fields=["labels.team"] * 100_000)
    assert (await refusal(api.stub.CreateJob(sound))).fields == ["unread_fields"]
    assert (await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs == []


async def test_every_fault_of_a_request_is_told_at_once(api: Api) -> None:
    job = digits_job()
    job.spec.loss.type = "MeanSquaredErorr"
    job.spec.training.epochs = 0
    job.spec.model.initial_weights.job = "never-created"
    refused = await refusal(api.stub.CreateJob(create(job=job, job_id="Not-An-Id", parent="project/x", request_id="1")))
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    of_the_request, of_the_spec = {"parent", "request_id", "job_id"}, {"loss.type", "training.epochs"}
    assert set(refused.fields) == of_the_request | {
        f"spec.{field}" for field in of_the_spec | {"model.initial_weights.job"}
    }
    assert not (await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs


async def test_a_spec_over_one_mebibyte_is_told_its_limit(api: Api) -> None:
    job = digits_job()
    job.spec.model.keras_config = "x" * (1 << 20)
    refused = await refusal(api.stub.CreateJob(create(job=job)))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["spec"])


async def test_a_taken_id_is_refused_also_when_only_validating(api: Api) -> None:
    await api.stub.CreateJob(create(job_id="digits"))
    for validate_only in (False, True):
        refused = await refusal(api.stub.CreateJob(create(job_id="digits", validate_only=validate_only)))
        assert (refused.code, refused.reason) == (Code.ALREADY_EXISTS, "ALREADY_EXISTS")


async def test_a_repeated_request_gets_the_first_result_and_another_body_is_refused(api: Api) -> None:
    request_id = str(uuid.uuid4())
    first = await api.stub.CreateJob(create(request_id=request_id))
    assert await api.stub.CreateJob(create(request_id=request_id)) == first
    refused = await refusal(api.stub.CreateJob(create(request_id=request_id, job_id="other")))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["request_id"])
    assert len((await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs) == 1


async def test_lists_come_in_pages_newest_first_without_specs(api: Api) -> None:
    for number in range(5):
        api.create(f"job-{number}")
    names, token = [], ""
    while True:
        page = await api.stub.ListJobs(service_pb2.ListJobsRequest(page_size=2, page_token=token))
        assert not any(job.HasField("spec") for job in page.jobs)
        names += [job.name.rpartition("/")[2] for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert names == ["job-4", "job-3", "job-2", "job-1", "job-0"]


async def test_a_list_is_filtered_and_ordered_as_it_is_asked(api: Api) -> None:
    for job_id in ("c", "a", "b", "late"):
        api.create(job_id)
    api.claim(JobName("default", "late"))
    request = service_pb2.ListJobsRequest(filter="state = QUEUED", order_by="job_id desc", page_size=2)
    first = await api.stub.ListJobs(request)
    request.page_token = first.next_page_token
    second = await api.stub.ListJobs(request)
    assert [job.name.rpartition("/")[2] for job in (*first.jobs, *second.jobs)] == ["c", "b", "a"]
    assert not second.next_page_token


async def test_a_page_of_large_specs_is_cut_to_what_a_client_accepts(api: Api) -> None:
    job = digits_job()
    job.labels["filler"] = "x"
    job.spec.data.train.npz.path = "/" + "x" * 900_000
    for number in range(8):
        api.store.create_job(JobName("default", f"job-{number}"), job, None, "", now())
    seen, token = 0, ""
    while True:
        page = await api.stub.ListJobs(service_pb2.ListJobsRequest(view=service_pb2.JobView.FULL, page_token=token))
        seen, token = seen + len(page.jobs), page.next_page_token
        if not token:
            break
    assert seen == 8


async def test_a_waiting_job_is_cancelled_at_once_and_a_second_cancel_is_fine(api: Api) -> None:
    name = str(api.create())
    request = service_pb2.CancelJobRequest(name=name)
    for _ in range(2):
        assert (await api.stub.CancelJob(request)).state == Job.CANCELLED
    labels = {"state": "CANCELLED", "reason": "CANCELLED_BY_USER"}
    assert api.instruments.registry.get_sample_value("gradloom_jobs_finished_total", labels) == 1


async def test_a_running_job_is_being_cancelled_and_a_finished_one_cannot_be(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    assert (await api.stub.CancelJob(service_pb2.CancelJobRequest(name=str(name)))).state == Job.CANCELLING
    api.end(attempt, Job.CANCELLED_BY_USER, Job.CANCELLED)
    failed = api.create("failed")
    api.end(api.claim(failed, "another token"), Job.TRAINER_RAISED, Job.FAILED)
    refused = await refusal(api.stub.CancelJob(service_pb2.CancelJobRequest(name=str(failed))))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "WRONG_STATE")
    assert "PreconditionFailure" in refused.details


async def test_attempts_are_listed_oldest_first(api: Api) -> None:
    name = api.create()
    api.end(api.claim(name), Job.TRAINER_RAISED, Job.QUEUED)
    api.claim(name, "another token")
    listed = await api.stub.ListAttempts(service_pb2.ListAttemptsRequest(parent=str(name)))
    assert [(attempt.number, attempt.reason) for attempt in listed.attempts] == [
        (1, Job.TRAINER_RAISED),
        (2, Job.REASON_UNSPECIFIED),
    ]


async def test_components_are_listed_by_kind_and_type_in_pages(api: Api) -> None:
    whole = await api.stub.ListComponents(service_pb2.ListComponentsRequest(page_size=1000))
    keys = [(component.kind, component.type) for component in whole.components]
    assert keys == sorted(keys)
    assert {service_pb2.ComponentInfo.Kind.Name(kind) for kind, _ in keys} >= {"LAYER", "LOSS", "OPTIMIZER", "DATASET"}
    paged, token = [], ""
    while True:
        request = service_pb2.ListComponentsRequest(page_size=37, page_token=token)
        page = await api.stub.ListComponents(request)
        paged += [(component.kind, component.type) for component in page.components]
        token = page.next_page_token
        if not token:
            break
    assert paged == keys


async def test_a_component_says_what_its_config_may_hold(api: Api) -> None:
    request = service_pb2.ListComponentsRequest(type="Dense")
    (dense,) = (await api.stub.ListComponents(request)).components
    parameters = {parameter.name: parameter for parameter in dense.parameters}
    assert parameters["units"].required
    assert parameters["use_bias"].default_value.bool_value is True
    assert not parameters["use_bias"].component_kind
    assert parameters["kernel_initializer"].component_kind == service_pb2.ComponentInfo.INITIALIZER
    digits = await api.stub.ListComponents(service_pb2.ListComponentsRequest(type="digits"))
    assert list(digits.components[0].dataset.feature_shape) == [8, 8]


async def test_a_token_is_good_for_its_own_list_alone(api: Api) -> None:
    layers = service_pb2.ListComponentsRequest(kind=service_pb2.ComponentInfo.LAYER, page_size=1)
    token = (await api.stub.ListComponents(layers)).next_page_token
    losses = service_pb2.ListComponentsRequest(kind=service_pb2.ComponentInfo.LOSS, page_token=token)
    assert (await refusal(api.stub.ListComponents(losses))).fields == ["page_token"]


ODD_NAMES = [
    "",
    "x",
    "projects/default/jobs/",
    "projects/default/jobs/A",
    "projects//jobs/a",
    "\0",
    "é" * 1000,
    "/" * 9,
]


@pytest.mark.parametrize(
    ("method", "request_type", "field"),
    [
        ("GetJob", service_pb2.GetJobRequest, "name"),
        ("CancelJob", service_pb2.CancelJobRequest, "name"),
        ("WatchJob", service_pb2.WatchJobRequest, "name"),
        ("StreamLogs", service_pb2.StreamLogsRequest, "name"),
        ("ListAttempts", service_pb2.ListAttemptsRequest, "parent"),
        ("ListArtifacts", service_pb2.ListArtifactsRequest, "parent"),
        ("DownloadArtifact", service_pb2.DownloadArtifactRequest, "name"),
    ],
)
async def test_a_name_that_is_none_is_refused_by_its_field(
    api: Api, method: str, request_type: type, field: str
) -> None:
    for name in ODD_NAMES:
        refused = await refusal(getattr(api.stub, method)(request_type(**{field: name}), timeout=TIMEOUT_SECONDS))
        assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, [field])


ODD_FIELDS = [
    ("ListJobs", service_pb2.ListJobsRequest(page_size=-1), "page_size"),
    ("ListJobs", service_pb2.ListJobsRequest(page_token="%%%"), "page_token"),
    ("ListJobs", service_pb2.ListJobsRequest(page_token="é" * 9999), "page_token"),
    ("ListJobs", service_pb2.ListJobsRequest(parent="projects/A"), "parent"),
    ("ListJobs", service_pb2.ListJobsRequest(view=77), "view"),
    ("ListJobs", service_pb2.ListJobsRequest(filter="state=DONE"), "filter"),
    ("ListJobs", service_pb2.ListJobsRequest(order_by="colour"), "order_by"),
    ("ListComponents", service_pb2.ListComponentsRequest(page_size=-(2**31)), "page_size"),
    ("ListComponents", service_pb2.ListComponentsRequest(page_token="bm9wZQ"), "page_token"),
    ("ListComponents", service_pb2.ListComponentsRequest(kind=-3), "kind"),
    ("GetJob", service_pb2.GetJobRequest(name="projects/default/jobs/a", view=-1), "view"),
    ("CancelJob", service_pb2.CancelJobRequest(name="projects/default/jobs/a", request_id="7"), "request_id"),
    (
        "CancelJob",
        service_pb2.CancelJobRequest(name="projects/a/jobs/a", request_id=str(uuid.uuid1())),
        "request_id",
    ),
    ("CreateJob", service_pb2.CreateJobRequest(), "job"),
    ("CreateJob", create(request_id="{" + str(uuid.uuid4()) + "}"), "request_id"),
    ("CreateJob", create(job_id="-a"), "job_id"),
    ("CreateJob", create(job_id="a" * 41), "job_id"),
    ("StreamLogs", service_pb2.StreamLogsRequest(name="projects/default/jobs/a", attempt=0), "attempt"),
    (
        "DownloadArtifact",
        service_pb2.DownloadArtifactRequest(name="projects/a/jobs/a/artifacts/b", offset_bytes=-1),
        "offset_bytes",
    ),
]


async def test_an_odd_field_is_refused_by_its_name(api: Api) -> None:
    for method, request, field in ODD_FIELDS:
        refused = await refusal(getattr(api.stub, method)(request, timeout=TIMEOUT_SECONDS))
        assert (method, refused.code, refused.fields) == (method, Code.INVALID_ARGUMENT, [field])


async def test_a_huge_page_size_means_the_largest_page(api: Api) -> None:
    api.create()
    assert len((await api.stub.ListJobs(service_pb2.ListJobsRequest(page_size=2**31 - 1))).jobs) == 1


async def test_bytes_that_are_no_message_are_the_callers_fault(api: Api) -> None:
    for method in ("CreateJob", "GetJob", "ListJobs", "CancelJob"):
        for raw in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 300):
            refused = await refusal(api.channel.unary_unary(f"/gradloom.v1.TrainingService/{method}")(raw))
            assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["request"])
    refused = await refusal(api.channel.unary_stream("/gradloom.v1.TrainingService/WatchJob")(b"\xff\xff"))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["request"])


async def test_what_the_server_does_wrong_is_internal_without_its_text(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.store.close()
    api.store._database.read = None  # Whatever: the next read raises what nobody foresaw.
    refused = await refusal(api.stub.GetJob(service_pb2.GetJobRequest(name="projects/default/jobs/a")))
    assert (refused.code, refused.reason) == (Code.INTERNAL, "INTERNAL")
    assert "NoneType" not in refused.message + str(refused.status)
    assert "NoneType" in caplog.text


async def test_handled_rpcs_are_counted_by_method_and_code(api: Api) -> None:
    await refusal(api.stub.GetJob(service_pb2.GetJobRequest(name="projects/default/jobs/a")))
    await api.stub.ListJobs(service_pb2.ListJobsRequest())
    for method, code in (("GetJob", "NOT_FOUND"), ("ListJobs", "OK")):
        labels = {"grpc_service": "gradloom.v1.TrainingService", "grpc_method": method, "grpc_code": code}
        assert api.instruments.registry.get_sample_value("grpc_server_handled_total", labels) == 1


async def test_health_serves_every_name_until_the_drain(api: Api) -> None:
    watch = api.health_stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    services = ("", "gradloom.v1.TrainingService", "grpc.health.v1.Health")
    for service in services:
        answer = await api.health_stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await refusal(api.health_stub.Check(health_pb2.HealthCheckRequest(service="x")))).code is Code.NOT_FOUND
    listed = (await api.health_stub.List(health_pb2.HealthListRequest())).statuses
    assert {listed[service].status for service in services} == {health_pb2.HealthCheckResponse.SERVING}
    unknown = api.health_stub.Watch(health_pb2.HealthCheckRequest(service="x"))
    assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    api.health.stop_serving()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    answer = await api.health_stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    unknown.cancel()


async def test_a_draining_server_takes_no_job_but_still_answers(api: Api) -> None:
    name = str(api.create())
    api.training.drain()
    refused = await refusal(api.stub.CreateJob(create()))
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "SERVER_UNAVAILABLE")
    assert (await api.stub.GetJob(service_pb2.GetJobRequest(name=name))).state == Job.QUEUED


async def test_reflection_shows_the_public_services_and_not_the_trainers(api: Api) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="gradloom.v1.TrainingService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="gradloom.attempt.v1.AttemptService"),
    ]
    listed, public, private = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert "gradloom.v1.TrainingService" in names
    assert not any("attempt" in name for name in names)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in public.file_descriptor_response.file_descriptor_proto
    ]
    assert "gradloom/v1/service.proto" in {file.name for file in files}
    assert private.HasField("error_response")


async def test_a_deadline_ends_a_call(api: Api) -> None:
    name = str(api.create())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in api.stub.WatchJob(service_pb2.WatchJobRequest(name=name), timeout=0.3):
            pass
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while api.store.hub.watcher_count():
            await asyncio.sleep(0.01)
