"""Requests written to do harm, to every method: none fails the server, and a refused one changes nothing.

The oracle is gRPC's own status, the database as SQLite's reader sees it, and the server's log.
"""

import asyncio
import logging
import random
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2, struct_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom.api.servicer import TrainingServicer
from gradloom.attempt.v1 import attempt_pb2
from gradloom.v1 import job_pb2, service_pb2, spec_pb2
from tests.api_server import BEARER, Api, api_server, digits_job
from tests.odd_messages import make_odd, odd_bytes
from tests.stores import a_checkpoint, completed

Code = grpc.StatusCode
Job = job_pb2.Job
PUBLIC = service_pb2.DESCRIPTOR.services_by_name["TrainingService"]
PRIVATE = attempt_pb2.DESCRIPTOR.services_by_name["AttemptService"]
ANSWERS = (sys.executable, "-S", "-c", """print('{"resolved_spec": ""}')""")
"""In place of the validator."""
STREAM_SECONDS = 0.15
"""Some streams follow a job for ever."""
SECONDS = 20.0
MOST_TRAILER_BYTES = 8192
"""What clients accept unless they say otherwise."""
_QUEUED, _FAILED = "projects/default/jobs/queued", "projects/default/jobs/failed"

SOUND: dict[str, list[Message]] = {
    "CreateJob": [service_pb2.CreateJobRequest(job=digits_job()), service_pb2.CreateJobRequest(job_id="queued")],
    "GetJob": [service_pb2.GetJobRequest(name=_QUEUED)],
    "ListJobs": [service_pb2.ListJobsRequest(page_size=2, filter="state = QUEUED", order_by="create_time desc")],
    "CancelJob": [service_pb2.CancelJobRequest(name=_FAILED)],
    "UpdateJob": [
        service_pb2.UpdateJobRequest(
            job=job_pb2.Job(name=_QUEUED, labels={"team": "vision"}, priority=3),
            update_mask=field_mask_pb2.FieldMask(paths=["labels", "priority"]),
        )
    ],
    "DeleteJob": [service_pb2.DeleteJobRequest(name="projects/default/jobs/none", force=True)],
    "PauseJob": [service_pb2.PauseJobRequest(name=_FAILED)],
    "ResumeJob": [service_pb2.ResumeJobRequest(name=_FAILED)],
    "RetryJob": [
        service_pb2.RetryJobRequest(
            name=_FAILED,
            job=job_pb2.Job(spec=spec_pb2.JobSpec(training=spec_pb2.TrainingSpec(epochs=3))),
            update_mask=field_mask_pb2.FieldMask(paths=["spec.training.epochs"]),
        )
    ],
    "ExplainJob": [service_pb2.ExplainJobRequest(name=_QUEUED), service_pb2.ExplainJobRequest(name=_FAILED)],
    "WatchJob": [service_pb2.WatchJobRequest(name=_FAILED), service_pb2.WatchJobRequest(name=_FAILED, from_start=True)],
    "StreamLogs": [service_pb2.StreamLogsRequest(name=_FAILED, attempt=1)],
    "StreamMetrics": [service_pb2.StreamMetricsRequest(name=_FAILED, scalars=["loss"])],
    "ListCheckpoints": [service_pb2.ListCheckpointsRequest(parent=_FAILED, page_size=1)],
    "ListAttempts": [service_pb2.ListAttemptsRequest(parent=_FAILED, page_size=1)],
    "ListArtifacts": [service_pb2.ListArtifactsRequest(parent=_FAILED, page_size=1)],
    "DownloadArtifact": [service_pb2.DownloadArtifactRequest(name=f"{_FAILED}/artifacts/a1-0", offset_bytes=1)],
    "ListComponents": [service_pb2.ListComponentsRequest(page_size=3, type="Dense")],
    "GetAssignment": [attempt_pb2.GetAssignmentRequest()],
    "RecordResolvedSpec": [
        attempt_pb2.RecordResolvedSpecRequest(
            resolved_spec=spec_pb2.ResolvedSpec(spec=digits_job().spec, replicas=1, steps_per_epoch=7)
        )
    ],
    "Report": [
        attempt_pb2.ReportRequest(
            beat=2,
            progress=job_pb2.Progress(phase=job_pb2.Progress.TRAINING, global_step=5, scalars={"loss": 0.5}),
            events=[job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=1, scalars={"loss": 0.5})],
            points=[job_pb2.ScalarsPoint(global_step=5, epoch=1, scalars={"loss": 0.5})],
            steps=5,
        )
    ],
    "RecordCheckpoint": [attempt_pb2.RecordCheckpointRequest(checkpoint=a_checkpoint(5), save_seconds=0.1)],
    "FinishAttempt": [attempt_pb2.FinishAttemptRequest(reason=Job.TRAINER_RAISED), completed(1)],
}
"""Requests that are nearly right, by method: what is odd about them then meets every rule."""


@dataclass
class Target:
    """A server in this process, with a job that waits, one that trains and one that has failed."""

    api: Api
    database: sqlite3.Connection
    public: grpc.Channel
    private: grpc.Channel

    def version(self) -> int:
        """Differs as soon as anybody has written to the database."""
        version: int = self.database.execute("PRAGMA data_version").fetchone()[0]
        return version


@contextmanager
def running(directory: Path) -> Iterator[Target]:
    loop, ready, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Api] = []

    async def serve() -> None:
        async with api_server(directory, validator=ANSWERS) as api:
            found.append(api)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(SECONDS)
    (api,) = found
    database = sqlite3.connect(f"file:{directory / 'gradloom.db'}?mode=ro", uri=True)
    try:
        _furnish(api)
        with grpc.insecure_channel(api.address) as public, grpc.insecure_channel(api.trainer_address) as private:
            yield Target(api, database, public, private)
    finally:
        database.close()
        loop.call_soon_threadsafe(done.set)
        thread.join(SECONDS)
        loop.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Target]:
    with running(tmp_path) as target:
        yield target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """For requests that are all refused."""
    with running(tmp_path_factory.mktemp("target")) as target:
        yield target


def _furnish(api: Api) -> None:
    failed = api.claim(api.create("failed"), "a token of old")
    log = failed.directory / "log" / "attempt.log"
    log.write_text("it began\nit ended\n")
    api.end(failed, Job.TRAINER_RAISED, Job.FAILED, [job_pb2.Artifact(path="log/attempt.log", kind=2, size_bytes=18)])
    api.claim(api.create("running"))
    api.create("queued")


@dataclass
class Answer:
    """How a call ended."""

    code: grpc.StatusCode
    status: status_pb2.Status | None = None

    def faults(self) -> list[str]:
        """What is wrong with the refusal itself."""
        details = (
            {} if self.status is None else {each.type_url.rpartition(".")[2]: each for each in self.status.details}
        )
        if "ErrorInfo" not in details:
            return ["no ErrorInfo"]
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        details["ErrorInfo"].Unpack(info)
        found = [] if info.domain == "gradloom.dev" and info.reason else [f"ErrorInfo holds {info}"]
        if self.code is Code.INVALID_ARGUMENT:
            if "BadRequest" not in details:
                return [*found, "no BadRequest"]
            details["BadRequest"].Unpack(bad_request)
            violations = bad_request.field_violations
            found += [] if violations else ["no field"]
            found += [
                f"unprintable: {each}" for each in violations if not (each.field + each.description).isprintable()
            ]
            found += [f"says nothing: {each}" for each in violations if not (each.field and each.description)]
        return found


def ask(channel: grpc.Channel, method: Any, raw: bytes, metadata: Any = ()) -> Answer:
    """Calls a method with these very bytes."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            for _ in channel.unary_stream(path)(raw, timeout=STREAM_SECONDS, metadata=metadata):
                pass
        else:
            channel.unary_unary(path)(raw, timeout=SECONDS, metadata=metadata)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        assert sum(len(key) + len(value) for key, value in trailers.items()) < MOST_TRAILER_BYTES
        details = trailers.get("grpc-status-details-bin")
        return Answer(error.code(), None if details is None else status_pb2.Status.FromString(details))
    return Answer(Code.OK)


def assert_harmless(target: Target, channel: grpc.Channel, method: Any, raw: bytes, metadata: Any = ()) -> Answer:
    before = target.version()
    answer = ask(channel, method, raw, metadata)
    if answer.code is Code.OK or (answer.code is Code.DEADLINE_EXCEEDED and method.server_streaming):
        return answer
    assert answer.code not in (Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE), answer
    assert not answer.faults()
    assert target.version() == before, f"{answer.code} changed what is stored"
    return answer


def odd_request(method: Any, draw: random.Random) -> bytes:
    """The bytes of a sound request that was made odd, or of nothing at all."""
    request = type(SOUND[method.name][0])()
    request.CopyFrom(draw.choice(SOUND[method.name]))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        make_odd(request, draw)
    raw = request.SerializeToString()
    return odd_bytes(raw, draw) if draw.random() < 0.1 else raw


SEEDS = st.integers(0, 2**32)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SERVED = [method for method in PUBLIC.methods if method.name in vars(TrainingServicer)]


def test_every_method_has_a_sound_request() -> None:
    named = {method.name: method.input_type.full_name for service in (PUBLIC, PRIVATE) for method in service.methods}
    assert {name: {request.DESCRIPTOR.full_name for request in requests} for name, requests in SOUND.items()} == {
        name: {full_name} for name, full_name in named.items()
    }


@pytest.mark.parametrize("method", SERVED, ids=lambda method: method.name)
def test_an_odd_request_is_answered_or_refused_and_changes_nothing_when_refused(
    fresh: Target, method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @MANY
    @given(SEEDS)
    def ask_oddly(seed: int) -> None:
        assert_harmless(fresh, fresh.public, method, odd_request(method, random.Random(seed)))

    with caplog.at_level(logging.ERROR):
        ask_oddly()
    assert not caplog.records


@pytest.mark.parametrize("method", list(PRIVATE.methods), ids=lambda method: method.name)
def test_what_a_trainer_says_oddly_is_stored_or_refused_and_changes_nothing_when_refused(
    fresh: Target, method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @MANY
    @given(SEEDS)
    def ask_oddly(seed: int) -> None:
        assert_harmless(fresh, fresh.private, method, odd_request(method, random.Random(seed)), BEARER)

    with caplog.at_level(logging.ERROR):
        ask_oddly()
    assert not caplog.records


@pytest.mark.parametrize("method", SERVED, ids=lambda method: method.name)
def test_bytes_that_are_no_message_are_refused_as_such(target: Target, method: Any) -> None:
    for raw in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 300, b"\x0a\x7f", bytes(99)):
        assert assert_harmless(target, target.public, method, raw).code is Code.INVALID_ARGUMENT


def nested(levels: int) -> bytes:
    """A CreateJobRequest whose loss has a config of so many lists within each other."""
    value = struct_pb2.Value(number_value=1.0).SerializeToString()
    for _ in range(levels):
        # Value.list_value is field 6, ListValue.values field 1.
        value = _field(6, _field(1, value))
    fields = _field(1, _field(1, b"deep") + _field(2, value))
    job = digits_job()
    job.spec.loss.ClearField("config")
    component = job.spec.loss.SerializeToString() + _field(_number(spec_pb2.Component, "config"), fields)
    spec = job.spec.SerializeToString() + _field(_number(spec_pb2.JobSpec, "loss"), component)
    return _field(_number(service_pb2.CreateJobRequest, "job"), _field(_number(job_pb2.Job, "spec"), spec))


def _number(message: Any, name: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field as it is on the wire."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    *low, last = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | 0x80 for part in low), last])


@pytest.mark.parametrize("levels", [5, 30, 90, 1000, 20_000])
def test_a_config_however_deep_is_refused_by_its_field_or_as_no_message(target: Target, levels: int) -> None:
    answer = assert_harmless(target, target.public, PUBLIC.methods_by_name["CreateJob"], nested(levels))
    assert answer.code is Code.INVALID_ARGUMENT


def test_a_request_beyond_the_limit_of_a_message_is_refused_and_the_next_one_is_answered(target: Target) -> None:
    giant = service_pb2.CreateJobRequest(job=digits_job())
    giant.job.spec.model.keras_config = "x" * (64 << 20)
    before = target.version()
    answer = ask(target.public, PUBLIC.methods_by_name["CreateJob"], giant.SerializeToString())
    # gRPC itself refuses it, and knows nothing of our details.
    assert (answer.code, target.version()) == (Code.RESOURCE_EXHAUSTED, before)
    sound = service_pb2.CreateJobRequest(job=digits_job()).SerializeToString()
    assert ask(target.public, PUBLIC.methods_by_name["CreateJob"], sound).code is Code.OK


@pytest.mark.parametrize(
    "labels",
    [
        {f"k{number}": "v" for number in range(65)},
        {"": "v"},
        {"A": "v"},
        {"a" * 64: "v"},
        {"a": "v" * 64},
        {"a b": ""},
        {"ключ": "v"},
        {"a\0": "v"},
    ],
)
def test_hostile_labels_are_refused_by_create_and_update_alike(target: Target, labels: dict[str, str]) -> None:
    create = service_pb2.CreateJobRequest(job=digits_job())
    create.job.labels.update(labels)
    update = service_pb2.UpdateJobRequest(job=job_pb2.Job(name=_QUEUED, labels=labels))
    for method, request in (("CreateJob", create), ("UpdateJob", update)):
        if method in vars(TrainingServicer):
            answer = assert_harmless(target, target.public, PUBLIC.methods_by_name[method], request.SerializeToString())
            assert answer.code is Code.INVALID_ARGUMENT
