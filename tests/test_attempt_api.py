"""The trainers' service: a token opens one attempt and nothing else, for as long as the attempt lives."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.records import AttemptRow
from gradloom.v1 import job_pb2, spec_pb2
from tests.api_server import BEARER, Api, api_server, now, refusal
from tests.stores import a_checkpoint, a_job

Code = grpc.StatusCode
Job = job_pb2.Job
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path, data_roots=(tmp_path,)) as running:
        yield running


CALLS = {
    "GetAssignment": attempt_pb2.GetAssignmentRequest(),
    "RecordResolvedSpec": attempt_pb2.RecordResolvedSpecRequest(resolved_spec=spec_pb2.ResolvedSpec(replicas=1)),
    "Report": attempt_pb2.ReportRequest(beat=1),
    "RecordCheckpoint": attempt_pb2.RecordCheckpointRequest(checkpoint=a_checkpoint(30)),
    "FinishAttempt": attempt_pb2.FinishAttemptRequest(reason=Job.TRAINER_RAISED),
}


async def test_a_call_without_the_token_of_an_attempt_is_denied(api: Api) -> None:
    api.claim(api.create())
    for method, request in CALLS.items():
        for metadata in ((), (("authorization", "Bearer x"),), (("authorization", BEARER[0][1].removeprefix("B")),)):
            refused = await refusal(getattr(api.attempt_stub, method)(request, metadata=metadata))
            assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_an_ended_attempt_is_superseded_in_every_call(api: Api) -> None:
    api.end(api.claim(api.create()), Job.TRAINER_LOST, Job.QUEUED)
    for method, request in CALLS.items():
        refused = await refusal(getattr(api.attempt_stub, method)(request, metadata=BEARER))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "ATTEMPT_SUPERSEDED")


async def test_an_assignment_tells_the_trainer_all_it_needs(api: Api, tmp_path: Path) -> None:
    attempt = api.claim(api.create())
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=BEARER)
    assert (told.job, told.job_uid, told.attempt) == ("projects/default/jobs/digits", attempt.uid, 1)
    assert told.spec.model.name == "digits"
    assert not told.HasField("resolved_spec")
    assert told.attempt_directory == str(attempt.directory)
    assert list(told.data_roots) == [str(tmp_path)]
    assert (told.device_kind, told.replicas) == (spec_pb2.ResolvedSpec.CPU, 1)


async def test_what_the_first_attempt_resolved_reaches_the_second(api: Api) -> None:
    name = api.create()
    first = api.claim(name)
    resolved = spec_pb2.ResolvedSpec(replicas=1, steps_per_epoch=7)
    request = attempt_pb2.RecordResolvedSpecRequest(resolved_spec=resolved)
    await api.attempt_stub.RecordResolvedSpec(request, metadata=BEARER)
    await api.attempt_stub.RecordResolvedSpec(request, metadata=BEARER)
    api.end(first, Job.TRAINER_LOST, Job.QUEUED)
    api.claim(name, "second token")
    metadata = (("authorization", "Bearer second token"),)
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=metadata)
    assert told.resolved_spec.steps_per_epoch == 7
    request.resolved_spec.steps_per_epoch = 8
    assert (await refusal(api.attempt_stub.RecordResolvedSpec(request, metadata=metadata))).code is (
        Code.FAILED_PRECONDITION
    )


async def test_a_report_moves_the_job_and_is_answered_with_go_on_until_a_cancel(api: Api) -> None:
    name = api.create()
    api.claim(name)
    request = attempt_pb2.ReportRequest(
        beat=1,
        progress=job_pb2.Progress(phase=job_pb2.Progress.TRAINING, epoch=1, global_step=3),
        mean_step_seconds=0.002,
        steps=3,
        examples=96,
    )
    answer = await api.attempt_stub.Report(request, metadata=BEARER)
    assert answer.directive == attempt_pb2.ReportResponse.CONTINUE
    assert api.store.get_job(name).state == Job.RUNNING
    value = api.instruments.registry.get_sample_value
    assert value("gradloom_job_examples_total", {"project": "default", "job_id": "digits"}) == 96
    assert value("gradloom_step_seconds_count") == 3
    api.store.cancel_job(name, None, "", now())
    request.beat = 2
    answer = await api.attempt_stub.Report(request, metadata=BEARER)
    assert answer.directive == attempt_pb2.ReportResponse.STOP


async def save(api: Api, attempt: AttemptRow, step: int, metadata: Metadata = BEARER) -> Path:
    """Writes a file and puts it on record as a checkpoint, as a trainer does."""
    checkpoint = a_checkpoint(step)
    path = attempt.directory / checkpoint.path
    path.parent.mkdir(exist_ok=True)
    path.touch()
    request = attempt_pb2.RecordCheckpointRequest(checkpoint=checkpoint, save_seconds=0.2)
    for _ in range(2):  # The answer to the first one was lost.
        await api.attempt_stub.RecordCheckpoint(request, metadata=metadata)
    return path


def assigned(job: JobName, uid: str, step: int, path: Path) -> attempt_pb2.Checkpoint:
    """What a trainer is told of a checkpoint of the first attempt of a job."""
    name = f"{job}/checkpoints/1-{step}"
    return a_checkpoint(step, attempt=1, path=str(path), job=str(job), job_uid=uid, name=name)


async def test_a_later_attempt_is_told_of_the_checkpoints_on_record_newest_first(api: Api) -> None:
    name = api.create()
    first = api.claim(name)
    paths = [await save(api, first, step) for step in (10, 20)]
    api.end(first, Job.TRAINER_LOST, Job.QUEUED)
    second = api.claim(name, "second token")
    metadata = (("authorization", "Bearer second token"),)
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=metadata)
    wanted = [assigned(name, first.uid, step, path) for step, path in reversed(list(zip((10, 20), paths, strict=True)))]
    assert list(told.checkpoints) == wanted
    await save(api, second, 30, metadata)
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=metadata)
    assert [checkpoint.global_step for checkpoint in told.checkpoints] == [20], "its own are none to go on from"
    assert [path.exists() for path in paths] == [False, True]


async def test_only_the_files_of_checkpoints_that_are_replaced_are_removed(api: Api) -> None:
    attempt = api.claim(api.create())
    paths = [await save(api, attempt, step) for step in (10, 20, 30, 40)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    value = api.instruments.registry.get_sample_value
    labels = {"project": "default", "job_id": "digits"}
    assert value("gradloom_checkpoint_save_seconds_count", labels) == 4
    assert value("gradloom_checkpoint_bytes", labels) == 1000


async def test_a_job_is_given_the_checkpoint_that_it_starts_with(api: Api) -> None:
    source = api.claim(api.create("source"), "token of the source")
    path = await save(api, source, 10, (("authorization", "Bearer token of the source"),))
    job = a_job()
    job.spec.model.initial_weights.job = "source"
    name = JobName("default", "digits")
    api.store.create_job(name, job, None, "", now())
    api.claim(name)
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=BEARER)
    assert told.initial_weights == assigned(source.name, source.uid, 10, path)
    assert list(told.checkpoints) == []


async def test_a_retried_job_is_given_the_checkpoint_that_it_goes_on_from(api: Api) -> None:
    source = api.claim(api.create("source"), "token of the source")
    metadata = (("authorization", "Bearer token of the source"),)
    resolved = spec_pb2.ResolvedSpec(replicas=1)
    request = attempt_pb2.RecordResolvedSpecRequest(resolved_spec=resolved)
    await api.attempt_stub.RecordResolvedSpec(request, metadata=metadata)
    path = await save(api, source, 10, metadata)
    api.end(source, Job.TRAINER_RAISED, Job.FAILED)
    name = JobName("default", "digits")
    api.store.create_job(name, a_job(), None, "", now(), api.store.find_retried(source.name, "1-10"))
    attempt = api.claim(name)
    told = await api.attempt_stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=BEARER)
    assert told.retry == attempt_pb2.Retry(
        checkpoint=assigned(source.name, source.uid, 10, path), resolved_spec=resolved
    )
    report = attempt_pb2.ReportRequest(beat=1, checkpoint_in=told.retry.checkpoint.name)
    await api.attempt_stub.Report(report, metadata=BEARER)
    own = await save(api, attempt, 20)
    (listed,) = api.store.list_attempts(name)[0]
    assert listed.checkpoint_in == "projects/default/jobs/source/checkpoints/1-10"
    assert (listed.checkpoint_out, own.stem) == ("projects/default/jobs/digits/checkpoints/1-20", "20")


async def test_the_first_finish_stands(api: Api) -> None:
    attempt = api.claim(api.create())
    for reason in (Job.DATA_UNAVAILABLE, Job.TRAINER_RAISED):
        request = attempt_pb2.FinishAttemptRequest(reason=reason)
        await api.attempt_stub.FinishAttempt(request, metadata=BEARER)
    (stored,) = api.store.attempts_of(attempt.uid)
    assert stored.finish is not None
    assert stored.finish.reason == Job.DATA_UNAVAILABLE


async def test_bytes_that_are_no_message_are_the_callers_fault(api: Api) -> None:
    api.claim(api.create())
    channel = api.trainer_channel
    refused = await refusal(
        channel.unary_unary("/gradloom.attempt.v1.AttemptService/Report")(b"\xff\xff", metadata=BEARER)
    )
    assert refused.code is Code.INVALID_ARGUMENT
