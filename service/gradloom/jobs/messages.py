"""Rows as messages of the wire."""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.hints import Standing, hint
from gradloom.jobs.manifest import checkpoint_id
from gradloom.jobs.records import AttemptRow, StoredCheckpoint
from gradloom.v1 import job_pb2

_TRAINING: Final = (job_pb2.Progress.TRAINING, job_pb2.Progress.EVALUATING)


def job_message(row: Any) -> job_pb2.Job:
    """A Job of a row of `queries.JOBS`, or of what one would hold, without spec and resolved_spec."""
    name = JobName(row.project, row.job_id)
    job = job_pb2.Job(
        name=str(name),
        uid=row.uid,
        display_name=row.display_name,
        labels=json.loads(row.labels),
        priority=row.priority,
        state=row.state,
        state_reason=row.state_reason,
        state_message=row.state_message,
        attempt_count=row.attempt_count,
        etag=_etag(row),
        create_time=_timestamp(row.create_time),
        update_time=_timestamp(row.update_time),
        start_time=_timestamp(row.start_time),
        end_time=_timestamp(row.end_time),
        retry_of=row.retry_of,
        retry_checkpoint=row.retry_checkpoint,
    )
    if row.error is not None:
        job.error.MergeFromString(row.error)
        job.error.hint = hint(row.state_reason, name, row.attempt_count, job.error, standing_of(row))
    if row.export is not None:
        job.export.MergeFromString(row.export)
    if row.place is not None:
        job.progress.MergeFromString(row.place)
    # While the job waits for another attempt, the look at the one before may lie beyond where that goes on.
    if row.progress is not None and row.state not in (job_pb2.Job.QUEUED, job_pb2.Job.PAUSED):
        job.progress.MergeFromString(row.progress)
    if row.checkpoint_step is not None:
        job.progress.checkpoint_step = row.checkpoint_step
    return job


def standing_of(row: Any) -> Standing:
    """How the job of a row of `queries.JOBS` stands."""
    return Standing(row.checkpoint_step is not None, row.state == job_pb2.Job.FAILED)


def attempt_message(name: JobName, row: sa.Row[Any], standing: Standing) -> job_pb2.Attempt:
    """An Attempt of a row of attempts, of a job that stands so."""
    attempt = job_pb2.Attempt(
        name=name.attempt(row.number),
        number=row.number,
        state=row.state,
        reason=row.reason,
        message=row.message,
        counted=row.counted,
        devices=json.loads(row.devices),
        start_time=_timestamp(row.start_time),
        end_time=_timestamp(row.end_time),
        exit_code=row.exit_code,
        signal=row.signal,
        peak_memory_bytes=row.peak_memory_bytes,
        cpu_duration=None if row.cpu_seconds is None else duration(row.cpu_seconds),
        log_size_bytes=row.log_size_bytes,
        log_dropped_bytes=row.log_dropped_bytes,
        checkpoint_in=row.checkpoint_in or "",
        checkpoint_out=row.checkpoint_out or "",
    )
    if row.error is not None:
        attempt.error.MergeFromString(row.error)
        attempt.error.hint = hint(row.reason, name, row.number, attempt.error, standing)
    return attempt


def attempt_row(row: sa.Row[Any]) -> AttemptRow:
    """An AttemptRow of a row of attempts with its job's columns."""
    progress = job_pb2.Progress.FromString(row.progress or b"")
    return AttemptRow(
        uid=row.job_uid,
        name=JobName(row.project, row.job_id),
        number=row.number,
        state=row.state,
        job_state=row.job_state,
        devices=tuple(json.loads(row.devices)),
        devices_released=row.devices_released,
        artifact_root=row.artifact_root,
        stopping_reason=row.reason,
        stopping_message=row.message,
        is_training=progress.phase in _TRAINING,
        has_stepped=progress.HasField("first_step_duration"),
        global_step=progress.global_step,
        trouble=progress.trouble,
        finish=None if row.finish is None else attempt_pb2.FinishAttemptRequest.FromString(row.finish),
        beat=row.beat,
        lease_owner=row.lease_owner,
        lease_beat=row.lease_beat,
        sequence=row.sequence,
        priority=row.priority,
        preemptible=row.preemptible,
        run_seconds_left=row.run_seconds_left,
        max_attempts=row.max_attempts,
        counted_attempts=row.counted_attempts,
        uncounted_attempts=row.uncounted_attempts,
        advanced=row.advanced,
        queued_time=row.queued_time,
        start_time=row.start_time,
    )


def stored_checkpoint(row: sa.Row[Any]) -> StoredCheckpoint:
    """A StoredCheckpoint of a row of CHECKPOINTS."""
    checkpoint = attempt_pb2.Checkpoint(
        path=row.path,
        attempt=row.attempt,
        global_step=row.global_step,
        epoch=row.epoch,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        best=row.best,
        final=row.final,
    )
    directory = Path(row.artifact_root, row.job_uid, str(row.attempt))
    return StoredCheckpoint(JobName(row.project, row.job_id), row.job_uid, checkpoint, directory)


def checkpoint_message(name: JobName, row: sa.Row[Any]) -> job_pb2.Checkpoint:
    """A Checkpoint, as users see it, of a row of checkpoints."""
    return job_pb2.Checkpoint(
        name=name.checkpoint(checkpoint_id(row.attempt, row.path)),
        attempt=row.attempt,
        global_step=row.global_step,
        epoch=row.epoch,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        best=row.best,
        final=row.final,
        create_time=_timestamp(row.time),
    )


def event_message(row: sa.Row[Any]) -> job_pb2.Event:
    """An Event of a row of events."""
    return job_pb2.Event(
        number=row.number,
        time=_timestamp(row.time),
        kind=row.kind,
        attempt=row.attempt,
        state=row.state,
        reason=row.reason,
        message=row.message,
        epoch=row.epoch,
        scalars=None if row.scalars is None else json.loads(row.scalars),
    )


def point_message(row: sa.Row[Any], names: Collection[str] = ()) -> job_pb2.ScalarsPoint:
    """A ScalarsPoint of a row of scalars; with the named ones alone, if any are named."""
    found = json.loads(row.scalars)
    return job_pb2.ScalarsPoint(
        number=row.number,
        time=_timestamp(row.time),
        attempt=row.attempt,
        global_step=row.global_step,
        epoch=row.epoch,
        epoch_end=row.epoch_end,
        scalars={name: found[name] for name in names if name in found} if names else found,
    )


def artifact_message(name: JobName, row: sa.Row[Any]) -> job_pb2.Artifact:
    """An Artifact of a row of artifacts."""
    return job_pb2.Artifact(
        name=name.artifact(row.artifact_id),
        path=row.path,
        kind=row.kind,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        attempt=row.attempt,
    )


def duration(seconds: float) -> Duration:
    """A Duration, to the microsecond."""
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made


def _etag(row: sa.Row[Any]) -> str:
    """Changes with what users edit and with the state; not with progress."""
    content = json.dumps([row.uid, row.display_name, row.labels, row.priority, row.state])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
