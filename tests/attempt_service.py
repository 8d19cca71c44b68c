"""An AttemptService on a unix socket that keeps the contract's promises, for tests of the trainer alone."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc

from gradloom import documents
from gradloom.api.status import status_of
from gradloom.attempt.v1 import attempt_pb2, attempt_pb2_grpc
from gradloom.errors import (
    AttemptSupersededError,
    GradloomError,
    PermissionDeniedError,
    ServerFaultError,
    WrongStateError,
)
from gradloom.v1 import job_pb2, spec_pb2
from gradloom.wire import DETAILS_KEY

TOKEN = "token-of-attempt-1"


class AttemptServer(attempt_pb2_grpc.AttemptServiceServicer):
    """Holds what one attempt told; can be away, lose answers, say stop, or take the attempt for superseded."""

    def __init__(self, socket: Path, assignment: attempt_pb2.Assignment):
        self.address = f"unix:{socket}"
        self.assignment = assignment
        self.reports: list[attempt_pb2.ReportRequest] = []
        self.events: list[job_pb2.Event] = []
        self.events_of_earlier_attempts: list[job_pb2.Event] = []
        self.points: list[job_pb2.ScalarsPoint] = []
        self.points_of_earlier_attempts: list[job_pb2.ScalarsPoint] = []
        self.checkpoints: list[attempt_pb2.Checkpoint] = []
        """Newest first, with absolute paths."""
        self.resolved: spec_pb2.ResolvedSpec | None = None
        self.finished: attempt_pb2.FinishAttemptRequest | None = None
        self.directive = attempt_pb2.ReportResponse.CONTINUE
        self.superseded = False
        self.answers_to_lose = 0
        self.broken = False
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None

    def __enter__(self) -> "AttemptServer":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        attempt_pb2_grpc.add_AttemptServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def wait_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Returns once the condition holds; it is asked again after every call that comes in."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds} s; the last report was {self.reports[-1:]}"
                self._changed.wait(min(left, 0.2))

    def GetAssignment(self, request, context):
        with self._changed:
            self._admit(context)
            answer = attempt_pb2.Assignment()
            answer.CopyFrom(self.assignment)
            if self.resolved is not None:
                answer.resolved_spec.CopyFrom(self.resolved)
            return answer

    def RecordResolvedSpec(self, request, context):
        with self._changed:
            self._admit(context)
            if self.resolved is not None and self.resolved != request.resolved_spec:
                _refuse(context, WrongStateError("attempt", "resolved otherwise before"))
            self.resolved = request.resolved_spec
            self._after(context)
            return attempt_pb2.RecordResolvedSpecResponse()

    def Report(self, request, context):
        with self._changed:
            self._admit(context)
            if self.broken:
                _refuse(context, ServerFaultError("of its own"))
            assert not self.reports or request.beat > self.reports[-1].beat
            self.reports.append(request)
            self.events.extend(request.events[max(0, len(self.events) - request.event_offset) :])
            assert request.points_offset <= len(self.points)
            self.points.extend(request.points[len(self.points) - request.points_offset :])
            self._after(context)
            return attempt_pb2.ReportResponse(directive=self.directive)

    def RecordCheckpoint(self, request, context):
        with self._changed:
            self._admit(context)
            checkpoint = attempt_pb2.Checkpoint()
            checkpoint.CopyFrom(request.checkpoint)
            assert checkpoint.attempt == self.assignment.attempt
            checkpoint.path = str(Path(self.assignment.attempt_directory, checkpoint.path))
            assert hashlib.sha256(Path(checkpoint.path).read_bytes()).hexdigest() == checkpoint.sha256
            if checkpoint not in self.checkpoints:
                self.checkpoints.insert(0, checkpoint)
            self._after(context)
            return attempt_pb2.RecordCheckpointResponse()

    def begin_next_attempt(self) -> None:
        """Makes the attempt that follows the live one, with what the ones before have left on record."""
        self.assignment.attempt += 1
        directory = Path(self.assignment.attempt_directory)
        directory = directory.with_name(f"attempt-{self.assignment.attempt}")
        directory.mkdir()
        self.assignment.attempt_directory = str(directory)
        del self.assignment.checkpoints[:]
        self.assignment.checkpoints.extend(self.checkpoints)
        self.reports, self.finished = [], None
        self.events_of_earlier_attempts += self.events
        self.events = []
        self.points_of_earlier_attempts += self.points
        self.points = []

    def FinishAttempt(self, request, context):
        with self._changed:
            self._admit(context)
            if self.finished is None:
                self.finished = request
            self._after(context)
            return attempt_pb2.FinishAttemptResponse()

    def _admit(self, context) -> None:
        if ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
            _refuse(context, PermissionDeniedError("no such token"))
        if self.superseded:
            _refuse(context, AttemptSupersededError("attempt 2 is the live one"))

    def _after(self, context) -> None:
        """What comes after a change was stored; the answer may still be lost."""
        self._changed.notify_all()
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")


def _refuse(context, error: GradloomError) -> None:
    code, message, status = status_of(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(code, message)


def attempt_server_of(text: str, directory: Path, name: str = "attempt") -> AttemptServer:
    """A server with the first attempt of a job file's job, on one CPU, in a directory of its own below `directory`."""
    attempt = directory / name
    attempt.mkdir()
    assignment = attempt_pb2.Assignment(
        job="projects/default/jobs/tiny",
        job_uid="3f6b",
        attempt=1,
        spec=documents.read_job(text).spec,
        attempt_directory=str(attempt),
        device_kind=spec_pb2.ResolvedSpec.CPU,
        replicas=1,
    )
    return AttemptServer(directory / "trainer.sock", assignment)
