"""The SDK: one typed method per call of the service, with the retries and the errors that a caller wants."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from gradloom.client.downloads import holds, targets, write_whole
from gradloom.client.names import DEFAULT_PROJECT, full_job_name, is_local, server_address
from gradloom.client.reconnect import UNREACHED_SECONDS, Patience, resumed_stream
from gradloom.client.status import domain_error
from gradloom.client.submission import job_from_parts, with_user_code
from gradloom.errors import FieldFault, GradloomError, InvalidRequestError, ServerUnavailableError
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc

TERMINAL_STATES: Final = frozenset({job_pb2.Job.SUCCEEDED, job_pb2.Job.FAILED, job_pb2.Job.CANCELLED})
RECONNECT_SECONDS: Final = 120.0
CALL_SECONDS: Final = 30.0
VALIDATION_SECONDS: Final = 180.0
"""A validation waits its turn behind others, and imports TensorFlow."""
_PAGE_SIZE: Final = 200

_CHANNEL_OPTIONS: Final = (
    # A job with a long spec and its resolved one; the server's own limit of a spec is 1 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
    # A dead network is noticed in about a minute, also while a stream is silent.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC's own waits grow to two minutes: a restarted server would stay unseen for as long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

JobReference = str | job_pb2.Job


class LogLine(NamedTuple):
    """One line of an attempt's log, without its line end."""

    attempt: int
    text: str


class Client:
    """Talks to one Gradloom server; use it as a context manager, or close it.

    Jobs are named by their id, their full resource name or a Job. Every method raises errors of `gradloom.errors`:
    InvalidRequestError with all field faults, NotFoundError, ServerUnavailableError, ... Calls that end UNAVAILABLE are
    made again for about a second (creating and cancelling carry a request id, so that they happen once). `watch`,
    `wait`, `logs` and `download` survive a restart of the server: they go on where they were, if it answers again
    within `reconnect_seconds`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        project: str = DEFAULT_PROJECT,
        timeout: float = CALL_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
        on_reconnect: Callable[[GradloomError], None] | None = None,
    ):
        """Opens no connection yet.

        Args:
            server: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Default: `GRADLOOM_SERVER`, else `127.0.0.1:50051`.
            project: the project of bare job ids.
            timeout: how many seconds a single call may take.
            reconnect_seconds: how long a stream that was lost is asked for again.
            on_reconnect: hears of every loss of a stream before it is asked for again.
        """
        self.server = server_address(server)
        self.project = project
        self._timeout = timeout
        self._reconnect_seconds = reconnect_seconds
        self._on_reconnect = on_reconnect
        self._answered = False
        options = (*_CHANNEL_OPTIONS, *((("grpc.enable_http_proxy", 0),) if is_local(self.server) else ()))
        self._channel = grpc.insecure_channel(self.server, options=options)
        self._stub: Any = service_pb2_grpc.TrainingServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and every stream over it."""
        self._channel.close()

    def submit(
        self,
        job: Mapping[str, Any] | str | os.PathLike[str] | job_pb2.Job | None = None,
        *,
        model: Any = None,
        user_code: str | os.PathLike[str] | None = None,
        job_id: str | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
        **fields: Any,
    ) -> job_pb2.Job:
        """Creates a job and returns it as stored, acknowledged for good.

        A job is given as a whole (`job`), or by its parts, `model` and the spec's other fields:

            client.submit(model=model, data={...}, loss=keras.losses.MeanSquaredError(), training={"epochs": 3},
                variable_groups=[{"name": "all", "match": ["**"], "optimizer": keras.optimizers.Adam(1e-3)}])

        Live Keras objects are sent as their configuration. The *weights* of a live model are not sent: training begins
        with those of its initializers and the spec's seed, or with a job's (`initial_weights` of a model given as a
        mapping). Classes of your own must be registered, and known to the server: by an installed package, or by
        `user_code`.

        Args:
            job: a Job as a dict, as YAML or JSON text, as the `pathlib.Path` of such a file, or as the proto message.
            model: a Keras model (functional, Sequential, or of a registered class with a full `get_config`), or the
                spec's `model` as a mapping.
            user_code: Python source as text, or the `pathlib.Path` of such a file, for `spec.user_code`.
            job_id: the id it gets. Default: generated by the server.
            request_id: a UUID4; repeating a call with the same one gives the first call's job. Default: a new one.
            validate_only: checks everything, with TensorFlow too, and returns what would be created, with its
                `resolved_spec`.
            **fields: with `model`, the other fields of the spec, and `display_name` and `labels` of the job.
        """
        given = job_from_parts(job, model, fields)
        if user_code is not None:
            given = with_user_code(given, user_code)
        request = service_pb2.CreateJobRequest(
            parent=self._parent,
            job_id=job_id,
            job=given,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        timeout = max(self._timeout, VALIDATION_SECONDS) if validate_only else self._timeout
        return self._call(self._stub.CreateJob, request, timeout)  # type: ignore[no-any-return]

    def get(self, job: JobReference) -> job_pb2.Job:
        """The job with its spec and resolved spec."""
        return self._call(self._stub.GetJob, service_pb2.GetJobRequest(name=self._name(job)))  # type: ignore[no-any-return]

    def list(self, *, full: bool = False) -> Iterator[job_pb2.Job]:
        """The project's jobs, newest first, page by page as they are consumed; with their specs if `full`."""
        view = service_pb2.JobView.FULL if full else service_pb2.JobView.BASIC
        return self._pages(self._stub.ListJobs, service_pb2.ListJobsRequest(parent=self._parent, view=view), "jobs")

    def cancel(self, job: JobReference, *, request_id: str | None = None) -> job_pb2.Job:
        """Asks for the job's end; it is CANCELLING until its processes are gone.

        Raises WrongStateError on a job that has succeeded or failed.
        """
        request = service_pb2.CancelJobRequest(name=self._name(job), request_id=request_id or str(uuid.uuid4()))
        return self._call(self._stub.CancelJob, request)  # type: ignore[no-any-return]

    def watch(
        self, job: JobReference, *, cursor: str | None = None, timeout: float | None = None
    ) -> Iterator[service_pb2.WatchJobResponse]:
        """The job as it is now, then every event and the newest progress, until the job is terminal.

        Args:
            job: the job.
            cursor: the cursor of the last message that was seen; every event after it follows. Default: from now on.
            timeout: raises TimeoutError after so many seconds. Default: none.
        """
        request = service_pb2.WatchJobRequest(name=self._name(job), cursor=cursor)
        last_event, last_state = 0, job_pb2.Job.STATE_UNSPECIFIED
        for message in self._resumed(self._stub.WatchJob, request, timeout):
            request.cursor = message.cursor or request.cursor
            if message.HasField("event"):
                if message.event.number <= last_event:
                    continue
                last_event = message.event.number
            last_state = message.job.state
            yield message
        if last_state not in TERMINAL_STATES:
            raise ServerUnavailableError(f"{self.server} ended the stream before the job had ended")

    def wait(self, job: JobReference, *, timeout: float | None = None) -> job_pb2.Job:
        """Waits until the job is terminal and returns it; its `state` says whether it succeeded.

        Raises TimeoutError after `timeout` seconds. Default: none.
        """
        for _ in self.watch(job, timeout=timeout):
            pass
        return self.get(job)

    def logs(self, job: JobReference, *, attempt: int | None = None, follow: bool = False) -> Iterator[LogLine]:
        """The log's lines, of one attempt or of all in order; with `follow` as they come, until the job is terminal."""
        for message in self.log_messages(job, attempt=attempt, follow=follow):
            for line in message.lines:
                yield LogLine(message.attempt, line)

    def log_messages(
        self, job: JobReference, *, attempt: int | None = None, follow: bool = False
    ) -> Iterator[service_pb2.StreamLogsResponse]:
        """As `logs`, in the wire's own messages."""
        request = service_pb2.StreamLogsRequest(name=self._name(job), attempt=attempt, follow=follow)
        for message in self._resumed(self._stub.StreamLogs, request, None):
            request.cursor = message.cursor or request.cursor
            yield message

    def attempts(self, job: JobReference) -> Iterator[job_pb2.Attempt]:
        """The job's attempts, oldest first."""
        request = service_pb2.ListAttemptsRequest(parent=self._name(job))
        return self._pages(self._stub.ListAttempts, request, "attempts")

    def artifacts(self, job: JobReference) -> Iterator[job_pb2.Artifact]:
        """The files that the job left, by attempt and path."""
        request = service_pb2.ListArtifactsRequest(parent=self._name(job))
        return self._pages(self._stub.ListArtifacts, request, "artifacts")

    def download(
        self,
        job: JobReference,
        destination: str | os.PathLike[str],
        *,
        kind: str | None = "EXPORT",
        overwrite: bool = False,
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> tuple[Path, ...]:
        """Fetches the job's files below `destination` and returns where they lie.

        Exports lie at their artifact's path, logs at `attempts/<number>/<path>`. A file is there whole, with its
        recorded digest, or not at all; one that is there already is not fetched again.

        Args:
            job: the job.
            destination: a directory; made when it is not there.
            kind: `EXPORT` or `LOG`. None: all.
            overwrite: replaces files of other contents. Default: FileExistsError before anything is fetched.
            on_bytes: hears bytes so far and bytes in all.
        """
        wanted = None if kind is None else enum_number(job_pb2.Artifact.Kind, kind, "kind")
        artifacts = [artifact for artifact in self.artifacts(job) if wanted is None or artifact.kind == wanted]
        placed = targets(artifacts, Path(destination))
        missing = [(artifact, target) for artifact, target in placed if not holds(target, artifact)]
        occupied = [str(target) for _, target in missing if target.exists()]
        if occupied and not overwrite:
            raise FileExistsError(
                f"{', '.join(occupied[:3])}{', ...' if len(occupied) > 3 else ''}: there already, with other contents; "
                "nothing was fetched. Choose another directory, or overwrite"
            )
        total_bytes = sum(artifact.size_bytes for artifact, _ in missing)
        done_bytes = 0

        def count(received_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += received_bytes
            if on_bytes:
                on_bytes(done_bytes, total_bytes)

        for artifact, target in missing:
            write_whole(artifact, target, self._chunks(artifact), count)
        return tuple(target for _, target in placed)

    def components(self, type: str | None = None, *, kind: str | None = None) -> Iterator[service_pb2.ComponentInfo]:
        """What a spec may name: all of it, or one type, or one kind such as `LAYER`."""
        wanted = enum_number(service_pb2.ComponentInfo.Kind, kind, "kind") if kind else 0
        request = service_pb2.ListComponentsRequest(kind=wanted, type=type)  # type: ignore[arg-type]
        return self._pages(self._stub.ListComponents, request, "components")

    @property
    def _parent(self) -> str:
        return f"projects/{self.project}"

    def _name(self, job: JobReference) -> str:
        return job.name if isinstance(job, job_pb2.Job) else full_job_name(job, self.project)

    def _chunks(self, artifact: job_pb2.Artifact) -> Iterator[bytes]:
        request = service_pb2.DownloadArtifactRequest(name=artifact.name, offset_bytes=0)
        for message in self._resumed(self._stub.DownloadArtifact, request, None):
            request.offset_bytes += len(message.chunk)
            yield message.chunk

    def _pages(self, method: Any, request: Any, field: str) -> Iterator[Any]:
        request.page_size = _PAGE_SIZE
        while True:
            response = self._call(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        patience = Patience(UNREACHED_SECONDS)
        while True:
            try:
                response = method(request, timeout=timeout or self._timeout)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or not patience.wait():
                    raise domain_error(error, self.server) from error
            else:
                self._answered = True
                return response

    def _resumed(self, method: Any, request: Any, timeout: float | None) -> Iterator[Any]:
        """The messages of a server stream.

        The caller moves the cursor in `request` before it takes the next message.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        patience = Patience(self._reconnect_seconds if self._answered else UNREACHED_SECONDS)

        def lost(error: grpc.RpcError) -> None:
            if self._answered and self._on_reconnect:
                self._on_reconnect(domain_error(error, self.server))

        try:
            for message in resumed_stream(
                lambda: method(request, timeout=deadline and max(0.0, deadline - time.monotonic())),
                patience,
                self._reconnect_seconds,
                lost,
            ):
                self._answered = True
                yield message
        except grpc.RpcError as error:
            if timeout is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(f"still going on after {timeout:g} s") from error
            raise domain_error(error, self.server) from error


def enum_number(enum: Any, name: str, field: str) -> int:
    """The number of an enum value by its name, in any case; raises InvalidRequestError listing the names."""
    names = [known for known, number in enum.items() if number]
    if name.upper() not in names:
        raise InvalidRequestError([FieldFault(field, f"must be one of {', '.join(names)}; got {name!r}")])
    return int(enum.Value(name.upper()))
