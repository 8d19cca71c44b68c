"""The API in this process, over a real store and real gRPC; without a scheduler: the test claims and ends attempts."""

import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from gradloom.api.attempt_servicer import AttemptServicer
from gradloom.api.creation import Creation
from gradloom.api.health import HealthServicer
from gradloom.api.listeners import HEALTH_SERVICE, PUBLIC_SERVICE, public_listener, trainer_listener
from gradloom.api.offload import Offload
from gradloom.api.servicer import TrainingServicer
from gradloom.api.validator import Validator
from gradloom.attempt.v1 import attempt_pb2_grpc
from gradloom.catalogue import Catalogue
from gradloom.documents import job_from_dict
from gradloom.job import JobName
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.explain import Explainer
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.records import AttemptOutcome, AttemptRow
from gradloom.jobs.scheduler import token_digest
from gradloom.jobs.store import Store
from gradloom.spec import OwnedDevices
from gradloom.v1 import job_pb2, service_pb2_grpc

TOKEN = "the token of the attempt"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
TIMEOUT_SECONDS = 20.0


def digits_job(**fields: Any) -> job_pb2.Job:
    """A small valid job."""
    document = {
        "display_name": "digits",
        "spec": {
            "model": {
                "name": "digits",
                "layers": [
                    {"type": "Input", "config": {"shape": [8, 8]}},
                    {"type": "Flatten"},
                    {"type": "Dense", "name": "classifier", "config": {"units": 10}},
                ],
            },
            "data": {"train": {"builtin": {"name": "digits"}}},
            "loss": {"type": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
            "variable_groups": [{"name": "all", "match": ["**"], "optimizer": {"type": "Adam"}}],
        },
    }
    job: job_pb2.Job = job_from_dict(document | fields)
    return job


@dataclass
class Api:
    """The running API, and what it stands on."""

    store: Store
    instruments: Instruments
    training: TrainingServicer
    health: HealthServicer
    artifact_root: Path
    address: str
    trainer_address: str
    channel: grpc.aio.Channel
    trainer_channel: grpc.aio.Channel
    stub: Any
    health_stub: Any
    attempt_stub: Any

    def create(self, job_id: str = "digits") -> JobName:
        """Stores a job without going through the API."""
        name = JobName("default", job_id)
        self.store.create_job(name, digits_job(), None, "", now())
        return name

    def claim(self, name: JobName, token: str = TOKEN) -> AttemptRow:
        """Begins an attempt of a queued job, whose trainer would hold the token."""
        uid = self.store.snapshot(name).uid
        attempt = self.store.claim(
            uid, ["CPU:0"], token_digest(token), "the test", now(), artifact_root=str(self.artifact_root)
        )
        assert attempt is not None
        (attempt.directory / "log").mkdir(parents=True)
        return attempt

    def end(self, attempt: AttemptRow, reason: int, state: int, artifacts: Sequence[job_pb2.Artifact] = ()) -> None:
        """Ends an attempt and takes its job to a state."""
        outcome = AttemptOutcome(reason=reason, message="so the test says", artifacts=tuple(artifacts))
        self.store.end_attempt(attempt.uid, attempt.number, outcome, state, now())


class QuietOutlook:
    """What a scheduler would know that has nothing to tell."""

    def silent_seconds(self, uid: str, number: int) -> float:
        return 0.0

    def backoff_seconds_left(self, uid: str) -> float | None:
        return None

    def queue_seconds_left(self, uid: str) -> float | None:
        return None

    def run_seconds_left(self, uid: str) -> float | None:
        return None

    def kept_devices(self) -> dict[str, str]:
        return {}


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def api_server(
    directory: Path,
    data_roots: Sequence[Path] = (),
    validator: Sequence[str] = (sys.executable, "-c", ""),
    allows_user_code: bool = False,
) -> AsyncIterator[Api]:
    """Runs the API; `validator` is the command in place of the real one."""
    store = Store.open(f"sqlite:///{directory / 'gradloom.db'}")
    offload, instruments, health = (
        Offload(store.together),
        Instruments(60.0),
        HealthServicer((PUBLIC_SERVICE, HEALTH_SERVICE)),
    )
    catalogue = Catalogue.load()
    training = TrainingServicer(
        store,
        offload,
        Creation(
            catalogue,
            [str(root) for root in data_roots],
            OwnedDevices(gpus=0, cpu_slots=1),
            store.find_initial_weights,
            allows_user_code,
        ),
        Validator(data_roots, (), 5.0, validator),
        catalogue,
        instruments,
        Explainer(store, Devices((), 1), QuietOutlook(), Disks({})),
    )
    public, address = public_listener("127.0.0.1:0", instruments, training, health)
    attempts = AttemptServicer(store, offload, instruments, data_roots, (), Hearing(time.monotonic))
    private, trainer_address = trainer_listener("127.0.0.1:0", instruments, attempts)
    await public.start()
    await private.start()
    async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(trainer_address) as trainers:
        yield Api(
            store,
            instruments,
            training,
            health,
            directory / "artifacts",
            address,
            trainer_address,
            channel,
            trainers,
            service_pb2_grpc.TrainingServiceStub(channel),
            health_pb2_grpc.HealthStub(channel),
            attempt_pb2_grpc.AttemptServiceStub(trainers),
        )
    await public.stop(0)
    await private.stop(0)
    offload.close()
    store.close()


class Refusal:
    """The status with which a call ended, taken apart."""

    def __init__(self, error: grpc.aio.AioRpcError):
        self.code = error.code()
        self.message = error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
        self.status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        self.details = {detail.type_url.rpartition(".")[2]: detail for detail in self.status.details}

    @property
    def reason(self) -> str:
        """ErrorInfo's reason."""
        info = error_details_pb2.ErrorInfo()
        assert self.details["ErrorInfo"].Unpack(info)
        assert info.domain == "gradloom.dev"
        return info.reason

    @property
    def fields(self) -> list[str]:
        """The fields of BadRequest."""
        return [violation.field for violation in self._violations()]

    def violation(self, field: str) -> str:
        """What BadRequest says of a field."""
        (description,) = [violation.description for violation in self._violations() if violation.field == field]
        return description

    def _violations(self) -> Iterable[error_details_pb2.BadRequest.FieldViolation]:
        bad_request = error_details_pb2.BadRequest()
        assert self.details["BadRequest"].Unpack(bad_request)
        return bad_request.field_violations


async def refusal(call: Any) -> Refusal:
    """Awaits a call, or reads a stream to its end, that must be refused."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return Refusal(error)
    raise AssertionError("the call was not refused")
