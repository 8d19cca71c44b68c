"""The SDK: one typed method per call of the service, with the retries and the errors that a caller wants."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from google.protobuf.field_mask_pb2 import FieldMask

from gradloom.client.connection import Connection
from gradloom.client.downloads import holds, targets, write_whole
from gradloom.client.edits import Edit, edited, edits_of_document
from gradloom.client.names import DEFAULT_PROJECT, full_job_name, server_address
from gradloom.client.submission import (
    SOURCE_FIELD,
    AnyJob,
    document_of_any,
    draft_from_parts,
    source_of_any,
    with_user_code,
)
from gradloom.documents import Draft
from gradloom.errors import (
    FieldFault,
    GradloomError,
    InvalidRequestError,
    NotFoundError,
    ServerUnavailableError,
    refusal,
)
from gradloom.faults import MAX_FAULTS
from gradloom.job import TERMINAL_STATES
from gradloom.v1 import job_pb2, service_pb2

RECONNECT_SECONDS: Final = 120.0
CALL_SECONDS: Final = 30.0
VALIDATION_SECONDS: Final = 180.0
"""A validation waits its turn behind others, and imports TensorFlow."""

JobReference = str | job_pb2.Job


class LogLine(NamedTuple):
    """One line of an attempt's log, without its line end."""

    attempt: int
    text: str


class Client:
    """Talks to one Gradloom server; use it as a context manager, or close it.

    Jobs are named by their id, their full resource name or a Job. Every method raises errors of `gradloom.errors`:
    InvalidRequestError with all field faults, NotFoundError, ServerUnavailableError, ... Calls that end UNAVAILABLE are
    made again for about a second (whatever changes a job carries a request id, so that it happens once). `watch`,
    `wait`, `logs`, `metrics` and `download` survive a restart of the server: they go on where they were, if it answers
    again within `reconnect_seconds`.
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
        self._connection = Connection(self.server, timeout, reconnect_seconds, on_reconnect)
        self._stub = self._connection.stub

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and every stream over it."""
        self._connection.close()

    def submit(
        self,
        job: AnyJob | Draft | None = None,
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
                What cannot be read of it is told together with what the server finds wrong with the rest.
            model: a Keras model (functional, Sequential, or of a registered class with a full `get_config`), or the
                spec's `model` as a mapping.
            user_code: Python source as text, or the `pathlib.Path` of such a file, for `spec.user_code`.
            job_id: the id it gets. Default: generated by the server.
            request_id: a UUID4; repeating a call with the same one gives the first call's job. Default: a new one.
            validate_only: checks everything, with TensorFlow too, and returns what would be created, with its
                `resolved_spec`.
            **fields: with `model`, the other fields of the spec, and the job's `display_name`, `labels` and `priority`.
        """
        draft = draft_from_parts(job, model, fields)
        if user_code is not None:
            draft = with_user_code(draft, user_code)
        request = service_pb2.CreateJobRequest(
            parent=self._parent,
            job_id=job_id,
            job=draft.job,
            validate_only=validate_only,
        )
        if draft.faults:
            raise InvalidRequestError([*draft.faults, *self._faults_of_the_rest(request, draft)])
        return self._change(self._stub.CreateJob, request, request_id, self._creation_seconds(validate_only))

    def retry(
        self,
        job: JobReference,
        changes: AnyJob | None = None,
        *,
        edits: Mapping[str, Any] | None = None,
        user_code: str | os.PathLike[str] | None = None,
        checkpoint: str | job_pb2.Checkpoint | None = None,
        job_id: str | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> job_pb2.Job:
        """Makes a new job from one that has ended, which stays as it is, and returns the new one.

            client.retry("first", edits={"spec.training.epochs": 5, "spec.variable_groups[0].optimizer.type": "SGD"})

        Raises WrongStateError on a job that has not ended.

        Args:
            job: the job that has ended.
            changes: the fields that differ, as a job in any form that `submit` takes. Fields that it leaves out stay;
                lists, mappings, components and data sources are replaced as a whole; None (`null` in a text) clears.
            edits: the same by path, after `changes`; a path may lead into lists, mappings and a component's `config`.
            user_code: Python source as text, or the `pathlib.Path` of such a file, for `spec.user_code`.
            checkpoint: the checkpoint to go on from: its id, its name, the message, `newest` or `best`. Default: from
                scratch.
            job_id: the id that the new job gets. Default: generated by the server.
            request_id: as in `submit`.
            validate_only: as in `submit`.
        """
        listed = [] if changes is None else edits_of_document(document_of_any(changes))
        listed += starmap(Edit, (edits or {}).items())
        if user_code is not None:
            listed.append(Edit(SOURCE_FIELD, source_of_any(user_code)))
        changed, mask = edited(self.get(job), listed) if listed else (None, None)
        request = service_pb2.RetryJobRequest(
            name=self._name(job),
            job_id=job_id,
            job=changed,
            update_mask=mask,
            checkpoint=None if checkpoint is None else self._checkpoint_name(job, checkpoint),
            validate_only=validate_only,
        )
        return self._change(self._stub.RetryJob, request, request_id, self._creation_seconds(validate_only))

    def get(self, job: JobReference) -> job_pb2.Job:
        """The job with its spec and resolved spec."""
        return self._connection.call(self._stub.GetJob, service_pb2.GetJobRequest(name=self._name(job)))  # type: ignore[no-any-return]

    def list(self, *, filter: str = "", order_by: str = "", full: bool = False) -> Iterator[job_pb2.Job]:
        """The project's jobs, page by page as they are consumed.

        Args:
            filter: such as `state = FAILED AND labels.team = vision`; see ListJobs. Default: every job.
            order_by: such as `priority desc, create_time`; see ListJobs. Default: newest first.
            full: with their specs.
        """
        request = service_pb2.ListJobsRequest(
            parent=self._parent,
            view=service_pb2.JobView.FULL if full else service_pb2.JobView.BASIC,
            filter=filter or None,
            order_by=order_by or None,
        )
        return self._connection.pages(self._stub.ListJobs, request, "jobs")

    def update(
        self,
        job: JobReference,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str | None] | None = None,
        priority: int | None = None,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> job_pb2.Job:
        """Changes what is given of a job, in any state, and returns it.

        Args:
            job: the job.
            display_name: for people.
            labels: those to set; None removes one. Others stay.
            priority: jobs of a higher one are given devices first.
            etag: raises EtagMismatchError when the job's is another one: somebody has changed it.
            request_id: as in `submit`.
        """
        changed = job_pb2.Job(name=self._name(job), display_name=display_name, priority=priority, etag=etag or "")
        paths = [path for path in ("display_name", "priority") if changed.HasField(path)]
        for key, value in (labels or {}).items():
            paths.append(f"labels.{key}")
            if value is not None:
                changed.labels[key] = value
        if not paths:
            raise refusal("job", "nothing to change: give display_name, labels or priority")
        request = service_pb2.UpdateJobRequest(job=changed, update_mask=FieldMask(paths=paths))
        return self._change(self._stub.UpdateJob, request, request_id)

    def cancel(self, job: JobReference, *, request_id: str | None = None) -> job_pb2.Job:
        """Asks for the job's end; it is CANCELLING until its processes are gone.

        Raises WrongStateError on a job that has succeeded or failed.
        """
        request = service_pb2.CancelJobRequest(name=self._name(job))
        return self._change(self._stub.CancelJob, request, request_id)

    def pause(self, job: JobReference, *, etag: str | None = None, request_id: str | None = None) -> job_pb2.Job:
        """Has the job save a checkpoint and give its devices back; it is PAUSING until it has, then PAUSED.

        Raises WrongStateError on a job that has ended or is being cancelled.
        """
        request = service_pb2.PauseJobRequest(name=self._name(job), etag=etag)
        return self._change(self._stub.PauseJob, request, request_id)

    def resume(self, job: JobReference, *, etag: str | None = None, request_id: str | None = None) -> job_pb2.Job:
        """Puts a paused job back into the queue; it goes on where it stopped.

        Raises WrongStateError on a job that is PAUSING, has ended or is being cancelled.
        """
        request = service_pb2.ResumeJobRequest(name=self._name(job), etag=etag)
        return self._change(self._stub.ResumeJob, request, request_id)

    def delete(
        self,
        job: JobReference,
        *,
        force: bool = False,
        allow_missing: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Deletes a job that has ended, with its checkpoints, exports and logs.

        Raises WrongStateError on a job that has not ended, and while another job that has not starts from one of its
        checkpoints.

        Args:
            job: the job.
            force: also one that has not ended; it is cancelled.
            allow_missing: does nothing when there is no such job.
            etag: raises EtagMismatchError when the job's is another one.
            request_id: as in `submit`.
        """
        request = service_pb2.DeleteJobRequest(
            name=self._name(job),
            force=force,
            allow_missing=allow_missing,
            etag=etag,
            request_id=_new_unless(request_id),
        )
        self._connection.call(self._stub.DeleteJob, request)

    def explain(self, job: JobReference) -> service_pb2.ExplainJobResponse:
        """Why the job waits, runs or has ended, in sentences, and what to do about it."""
        request = service_pb2.ExplainJobRequest(name=self._name(job))
        return self._connection.call(self._stub.ExplainJob, request)  # type: ignore[no-any-return]

    def watch(
        self,
        job: JobReference,
        *,
        cursor: str | None = None,
        from_start: bool = False,
        timeout: float | None = None,
    ) -> Iterator[service_pb2.WatchJobResponse]:
        """The job as it is now, then every event and the newest progress, until the job is terminal.

        Args:
            job: the job.
            cursor: the cursor of the last message that was seen; every event after it follows. Default: from now on.
            from_start: every event from the first on, also of a job that has ended; excludes cursor.
            timeout: raises TimeoutError after so many seconds. Default: none.
        """
        request = service_pb2.WatchJobRequest(name=self._name(job), cursor=cursor, from_start=from_start)
        last_event, last_state = 0, job_pb2.Job.STATE_UNSPECIFIED
        for message in self._connection.stream(self._stub.WatchJob, request, timeout):
            if message.cursor:
                request.cursor = message.cursor
                request.ClearField("from_start")
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

    def logs(
        self, job: JobReference, *, attempt: int | None = None, follow: bool = False, cursor: str | None = None
    ) -> Iterator[LogLine]:
        """The log's lines, of one attempt or of all in order, after the message that had the cursor.

        With `follow` as they come, until the job is terminal.
        """
        for message in self.log_messages(job, attempt=attempt, follow=follow, cursor=cursor):
            for line in message.lines:
                yield LogLine(message.attempt, line)

    def log_messages(
        self, job: JobReference, *, attempt: int | None = None, follow: bool = False, cursor: str | None = None
    ) -> Iterator[service_pb2.StreamLogsResponse]:
        """As `logs`, in the wire's own messages."""
        request = service_pb2.StreamLogsRequest(name=self._name(job), attempt=attempt, follow=follow, cursor=cursor)
        for message in self._connection.stream(self._stub.StreamLogs, request):
            request.cursor = message.cursor or request.cursor
            yield message

    def metrics(
        self, job: JobReference, *, scalars: Sequence[str] = (), follow: bool = False, cursor: str | None = None
    ) -> Iterator[job_pb2.ScalarsPoint]:
        """Every recorded scalar by step, or those named, after the message that had the cursor.

        With `follow` as they come, until the job is terminal.
        """
        for message in self.metrics_messages(job, scalars=scalars, follow=follow, cursor=cursor):
            yield from message.points

    def metrics_messages(
        self, job: JobReference, *, scalars: Sequence[str] = (), follow: bool = False, cursor: str | None = None
    ) -> Iterator[service_pb2.StreamMetricsResponse]:
        """As `metrics`, in the wire's own messages."""
        request = service_pb2.StreamMetricsRequest(name=self._name(job), scalars=scalars, follow=follow, cursor=cursor)
        for message in self._connection.stream(self._stub.StreamMetrics, request):
            request.cursor = message.cursor or request.cursor
            yield message

    def attempts(self, job: JobReference) -> Iterator[job_pb2.Attempt]:
        """The job's attempts, oldest first."""
        request = service_pb2.ListAttemptsRequest(parent=self._name(job))
        return self._connection.pages(self._stub.ListAttempts, request, "attempts")

    def checkpoints(self, job: JobReference) -> Iterator[job_pb2.Checkpoint]:
        """The job's checkpoints that are on record, newest first."""
        request = service_pb2.ListCheckpointsRequest(parent=self._name(job))
        return self._connection.pages(self._stub.ListCheckpoints, request, "checkpoints")

    def artifacts(self, job: JobReference) -> Iterator[job_pb2.Artifact]:
        """The files that the job left, by attempt and path."""
        request = service_pb2.ListArtifactsRequest(parent=self._name(job))
        return self._connection.pages(self._stub.ListArtifacts, request, "artifacts")

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
        return self._connection.pages(self._stub.ListComponents, request, "components")

    @property
    def _parent(self) -> str:
        return f"projects/{self.project}"

    def _name(self, job: JobReference) -> str:
        return job.name if isinstance(job, job_pb2.Job) else full_job_name(job, self.project)

    def _change(self, method: Any, request: Any, request_id: str | None, seconds: float | None = None) -> job_pb2.Job:
        """The job that a call changes or makes, under one request id however often it is made."""
        request.request_id = _new_unless(request_id)
        return self._connection.call(method, request, seconds)  # type: ignore[no-any-return]

    def _faults_of_the_rest(self, request: service_pb2.CreateJobRequest, draft: Draft) -> Sequence[FieldFault]:
        """What the server finds wrong with a job of which some fields could not be read; never makes it."""
        if len(draft.faults) > MAX_FAULTS:
            # The user has enough to do.
            return []
        request.validate_only = True
        # With no path it would pass for a job that can be made, and be checked by TensorFlow; an empty one hides none.
        request.unread_fields.extend(draft.unread or [""])
        try:
            self._connection.call(self._stub.CreateJob, request)
        except InvalidRequestError as error:
            return [fault for fault in error.faults if fault.field != "unread_fields"]
        except GradloomError as error:
            return [FieldFault("job", f"was not checked any further: {error}")]
        return []

    def _creation_seconds(self, validate_only: bool) -> float:
        return max(self._timeout, VALIDATION_SECONDS) if validate_only else self._timeout

    def _checkpoint_name(self, job: JobReference, checkpoint: str | job_pb2.Checkpoint) -> str:
        """The resource name of one of the job's checkpoints; raises NotFoundError when it has no newest or best one."""
        if isinstance(checkpoint, job_pb2.Checkpoint):
            return checkpoint.name
        if checkpoint not in ("newest", "best"):
            return checkpoint if "/" in checkpoint else f"{self._name(job)}/checkpoints/{checkpoint}"
        for known in self.checkpoints(job):
            if known.best or checkpoint == "newest":
                return known.name
        which = "checkpoint" if checkpoint == "newest" else "checkpoint of a best epoch"
        raise NotFoundError(f"{self._name(job)} has no {which}; without one a retry starts from scratch")

    def _chunks(self, artifact: job_pb2.Artifact) -> Iterator[bytes]:
        request = service_pb2.DownloadArtifactRequest(name=artifact.name, offset_bytes=0)
        for message in self._connection.stream(self._stub.DownloadArtifact, request):
            request.offset_bytes += len(message.chunk)
            yield message.chunk


def _new_unless(request_id: str | None) -> str:
    return request_id or str(uuid.uuid4())


def enum_number(enum: Any, name: str, field: str) -> int:
    """The number of an enum value by its name, in any case; raises InvalidRequestError listing the names."""
    names = [known for known, number in enum.items() if number]
    if name.upper() not in names:
        raise refusal(field, f"must be one of {', '.join(names)}; got {name!r}")
    return int(enum.Value(name.upper()))
