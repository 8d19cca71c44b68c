"""What trainers ask: each call carries the token of one attempt, and can touch that attempt alone."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradloom.api.offload import Offload
from gradloom.attempt.v1 import attempt_pb2, attempt_pb2_grpc
from gradloom.errors import PermissionDeniedError
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.leavings import remove_files
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.scheduler import token_digest
from gradloom.jobs.store import Store
from gradloom.v1 import service_pb2, spec_pb2


class AttemptServicer(attempt_pb2_grpc.AttemptServiceServicer):
    """Assignments down; resolved specs, reports, checkpoints and ends up."""

    def __init__(
        self,
        store: Store,
        offload: Offload,
        instruments: Instruments,
        data_roots: Sequence[Path],
        dataset_directories: Sequence[Path],
        hearing: Hearing,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._store = store
        self._offload = offload
        self._instruments = instruments
        self._data_roots = [str(path) for path in data_roots]
        self._dataset_directories = [str(path) for path in dataset_directories]
        self._hearing = hearing
        self._clock = clock

    async def GetAssignment(self, request: attempt_pb2.GetAssignmentRequest, context: Any) -> attempt_pb2.Assignment:
        """Tells a trainer what to train."""
        return await self._offload.read(self._assignment, _token_digest(context))

    async def RecordResolvedSpec(
        self, request: attempt_pb2.RecordResolvedSpecRequest, context: Any
    ) -> attempt_pb2.RecordResolvedSpecResponse:
        """Stores what runs."""
        await self._offload.write(self._record_resolved_spec, _token_digest(context), request)
        return attempt_pb2.RecordResolvedSpecResponse()

    async def Report(self, request: attempt_pb2.ReportRequest, context: Any) -> attempt_pb2.ReportResponse:
        """Stores a look and gives a directive."""
        directive = await self._offload.write(self._report, _token_digest(context), request)
        return attempt_pb2.ReportResponse(directive=directive)

    async def RecordCheckpoint(
        self, request: attempt_pb2.RecordCheckpointRequest, context: Any
    ) -> attempt_pb2.RecordCheckpointResponse:
        """Puts a checkpoint on record, then removes those that it replaces."""
        superfluous = await self._offload.write(self._record_checkpoint, _token_digest(context), request)
        await self._offload.read(remove_files, superfluous)
        return attempt_pb2.RecordCheckpointResponse()

    async def FinishAttempt(
        self, request: attempt_pb2.FinishAttemptRequest, context: Any
    ) -> attempt_pb2.FinishAttemptResponse:
        """Stores how the trainer ended."""
        await self._offload.write(self._finish, _token_digest(context), request)
        return attempt_pb2.FinishAttemptResponse()

    def _assignment(self, token_digest: str) -> attempt_pb2.Assignment:
        attempt = self._attempt(token_digest)
        job = self._store.snapshot_by_uid(attempt.uid, service_pb2.JobView.FULL).job
        gpus = [device for device in attempt.devices if device.startswith("GPU:")]
        weights, retry = self._store.initial_weights_of(attempt.uid), self._store.retry_source_of(attempt.uid)
        self._instruments.attempt_reached("assigned", self._age(attempt))
        return attempt_pb2.Assignment(
            job=str(attempt.name),
            job_uid=attempt.uid,
            attempt=attempt.number,
            spec=job.spec,
            resolved_spec=job.resolved_spec if job.HasField("resolved_spec") else None,
            attempt_directory=str(attempt.directory),
            data_roots=self._data_roots,
            dataset_directories=self._dataset_directories,
            device_kind=spec_pb2.ResolvedSpec.GPU if gpus else spec_pb2.ResolvedSpec.CPU,
            replicas=len(gpus) if gpus else max(1, job.spec.resources.cpu_replicas),
            checkpoints=[
                stored.assigned()
                for stored in self._store.checkpoints_of(attempt.uid)
                if stored.checkpoint.attempt < attempt.number
            ],
            initial_weights=None if weights is None else weights.assigned(),
            retry=None if retry is None else retry.assigned(),
        )

    def _record_resolved_spec(self, token_digest: str, request: attempt_pb2.RecordResolvedSpecRequest) -> None:
        attempt = self._attempt(token_digest)
        self._store.record_resolved_spec(attempt.uid, attempt.number, request.resolved_spec, self._clock())
        self._instruments.attempt_reached("prepared", self._age(attempt))

    def _record_checkpoint(self, token_digest: str, request: attempt_pb2.RecordCheckpointRequest) -> tuple[Path, ...]:
        attempt = self._attempt(token_digest)
        outcome = self._store.record_checkpoint(attempt.uid, attempt.number, request.checkpoint, self._clock())
        if not outcome.repeated:
            self._instruments.checkpoint_recorded(attempt.uid, attempt.name, request)
        return outcome.dropped

    def _report(self, token_digest: str, request: attempt_pb2.ReportRequest) -> attempt_pb2.ReportResponse.Directive:
        attempt = self._attempt(token_digest)
        outcome = self._store.record_report(attempt.uid, attempt.number, request, self._clock())
        if not outcome.repeated:
            self._instruments.attempt_reported(attempt.uid, attempt.name, attempt.number, request)
        return outcome.directive

    def _finish(self, token_digest: str, request: attempt_pb2.FinishAttemptRequest) -> None:
        attempt = self._attempt(token_digest)
        self._store.finish_attempt(attempt.uid, attempt.number, request, self._clock())

    def _attempt(self, token_digest: str) -> AttemptRow:
        """The caller's attempt, which is noted to live."""
        attempt = self._store.attempt_by_token(token_digest)
        self._hearing.heard(attempt.uid, attempt.number)
        return attempt

    def _age(self, attempt: AttemptRow) -> float:
        """Seconds since the claim; shown, never decided by."""
        return (self._clock() - attempt.start_time).total_seconds()


def _token_digest(context: Any) -> str:
    """The digest under which the store knows the caller's attempt."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            return token_digest(value.removeprefix("Bearer "))
    raise PermissionDeniedError("an attempt's token is needed: `authorization: Bearer <token>`")
