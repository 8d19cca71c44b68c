"""A gRPC server of the public service that plays back what a test puts into it, on a free port.

The client's tests need what a real server shows only when it is killed at the right moment, or is hostile.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import grpc
from google.protobuf import empty_pb2

from gradloom.api.status import status_of
from gradloom.errors import GradloomError, NotFoundError, ServerUnavailableError
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc
from gradloom.wire import DETAILS_KEY

LOST = ServerUnavailableError("the server is being stopped")
Watch = service_pb2.WatchJobResponse
State = job_pb2.Job.State


@dataclass
class Played:
    """What the service holds, and the requests that it got."""

    jobs: dict[str, job_pb2.Job] = field(default_factory=dict)
    attempts: list[job_pb2.Attempt] = field(default_factory=list)
    artifacts: list[job_pb2.Artifact] = field(default_factory=list)
    checkpoints: list[job_pb2.Checkpoint] = field(default_factory=list)
    components: list[service_pb2.ComponentInfo] = field(default_factory=list)
    explained: service_pb2.ExplainJobResponse = field(default_factory=service_pb2.ExplainJobResponse)
    contents: dict[str, bytes] = field(default_factory=dict)
    failures: list[GradloomError] = field(default_factory=list)
    """Raised by the next single calls, one each."""
    watches: list[Sequence[Watch | GradloomError]] = field(default_factory=list)
    """Played by the next WatchJob calls, one each; the last one by all later ones."""
    log_streams: list[Sequence[service_pb2.StreamLogsResponse | GradloomError]] = field(default_factory=list)
    metrics_streams: list[Sequence[service_pb2.StreamMetricsResponse | GradloomError]] = field(default_factory=list)
    lost_after_bytes: list[int] = field(default_factory=list)
    """The next downloads end UNAVAILABLE after so many bytes, one each."""
    requests: list[Any] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    """A stream that is played to its end stays open until this is set."""

    def add_file(self, path: str, content: bytes, *, kind: int = job_pb2.Artifact.EXPORT, **record: Any) -> None:
        """Adds an artifact; `record` overrides what its record says."""
        name = f"projects/default/jobs/digits/artifacts/a{len(self.artifacts)}"
        self.contents[name] = content
        known = {"size_bytes": len(content), "sha256": sha256(content).hexdigest(), "attempt": 1} | record
        self.artifacts.append(job_pb2.Artifact(name=name, path=path, kind=kind, **known))

    def of(self, kind: type) -> list[Any]:
        """The requests of one type, oldest first."""
        return [request for request in self.requests if isinstance(request, kind)]


class PlayingServicer(service_pb2_grpc.TrainingServiceServicer):
    def __init__(self, played: Played):
        self._played = played

    def CreateJob(self, request: service_pb2.CreateJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        self._begin(request, context)
        job = job_pb2.Job()
        job.CopyFrom(request.job)
        job.name = f"{request.parent}/jobs/{request.job_id or 'generated'}"
        job.state = job_pb2.Job.QUEUED
        if request.validate_only:
            shape = [64, 10]
            job.resolved_spec.variables.add(
                path="head/kernel", shape=shape, dtype="float32", group="head", trained=True
            )
        else:
            self._played.jobs[job.name] = job
        return job

    def GetJob(self, request: service_pb2.GetJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        self._begin(request, context)
        if request.name not in self._played.jobs:
            _abort(context, NotFoundError(f"no job {request.name}"))
        return self._played.jobs[request.name]

    def ListJobs(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListJobsResponse:
        self._begin(request, context)
        page, token = _page(list(self._played.jobs.values()), request)
        return service_pb2.ListJobsResponse(jobs=page, next_page_token=token)

    def CancelJob(self, request: service_pb2.CancelJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        self._begin(request, context)
        job = self._played.jobs[request.name]
        job.state = job_pb2.Job.CANCELLING
        return job

    def RetryJob(self, request: service_pb2.RetryJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        self._begin(request, context)
        return job_pb2.Job(name=f"{request.name}-again", retry_of=request.name, retry_checkpoint=request.checkpoint)

    def DeleteJob(self, request: service_pb2.DeleteJobRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._begin(request, context)
        del self._played.jobs[request.name]
        return empty_pb2.Empty()

    def ExplainJob(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ExplainJobResponse:
        self._begin(request, context)
        return self._played.explained

    def WatchJob(self, request: service_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[Watch]:
        self._played.requests.append(request)
        watches = self._played.watches
        yield from self._play(watches.pop(0) if len(watches) > 1 else watches[0], context)

    def StreamLogs(self, request: Any, context: grpc.ServicerContext) -> Iterator[service_pb2.StreamLogsResponse]:
        self._played.requests.append(request)
        yield from self._play(self._played.log_streams.pop(0), context)

    def StreamMetrics(self, request: Any, context: grpc.ServicerContext) -> Iterator[service_pb2.StreamMetricsResponse]:
        self._played.requests.append(request)
        yield from self._play(self._played.metrics_streams.pop(0), context)

    def ListCheckpoints(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListCheckpointsResponse:
        self._begin(request, context)
        page, token = _page(self._played.checkpoints, request)
        return service_pb2.ListCheckpointsResponse(checkpoints=page, next_page_token=token)

    def ListAttempts(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListAttemptsResponse:
        self._begin(request, context)
        page, token = _page(self._played.attempts, request)
        return service_pb2.ListAttemptsResponse(attempts=page, next_page_token=token)

    def ListArtifacts(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListArtifactsResponse:
        self._begin(request, context)
        page, token = _page(self._played.artifacts, request)
        return service_pb2.ListArtifactsResponse(artifacts=page, next_page_token=token)

    def DownloadArtifact(
        self, request: service_pb2.DownloadArtifactRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.DownloadArtifactResponse]:
        self._played.requests.append(request)
        content = self._played.contents[request.name][request.offset_bytes :]
        lost_after = self._played.lost_after_bytes.pop(0) if self._played.lost_after_bytes else None
        sent = content if lost_after is None else content[:lost_after]
        for start in range(0, len(sent), 1000):
            yield service_pb2.DownloadArtifactResponse(chunk=sent[start : start + 1000])
        if lost_after is not None:
            _abort(context, LOST)

    def ListComponents(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListComponentsResponse:
        self._begin(request, context)
        found = [
            component
            for component in self._played.components
            if request.type in ("", component.type) and request.kind in (0, component.kind)
        ]
        page, token = _page(found, request)
        return service_pb2.ListComponentsResponse(components=page, next_page_token=token)

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        self._played.requests.append(request)
        if self._played.failures:
            _abort(context, self._played.failures.pop(0))

    def _play(self, messages: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for message in messages:
            if isinstance(message, GradloomError):
                _abort(context, message)
            yield message
        context.add_callback(self._played.held.set)
        self._played.held.wait()


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """Pages of two, whatever size is asked for, so that every list that matters has several."""
    start = int(request.page_token or 0)
    return items[start : start + 2], str(start + 2) if start + 2 < len(items) else ""


def _abort(context: grpc.ServicerContext, error: GradloomError) -> None:
    code, message, details = status_of(error)
    context.set_trailing_metadata(((DETAILS_KEY, details.SerializeToString()),))
    context.abort(code, message)


@dataclass
class Serving:
    """A running server; another one can be served at the same address once it is stopped."""

    played: Played
    address: str
    stop: Callable[[], None]


def serve(played: Played, address: str = "127.0.0.1:0") -> Serving:
    """Starts a server."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    service_pb2_grpc.add_TrainingServiceServicer_to_server(PlayingServicer(played), server)
    port = server.add_insecure_port(address)
    server.start()

    def stop() -> None:
        # Streams are cut, which sets `held`; setting it first would let them end well.
        server.stop(grace=0).wait()
        played.held.set()

    return Serving(played, f"127.0.0.1:{port}", stop)
