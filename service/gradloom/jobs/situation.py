"""All that the store knows of why a job is where it is, read at one moment."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from gradloom.job import JobName
from gradloom.jobs.database import Database
from gradloom.jobs.devices import Devices
from gradloom.jobs.hints import Standing
from gradloom.jobs.messages import attempt_message, job_message, standing_of
from gradloom.jobs.queries import ATTEMPT_IS_LIVE, DEMANDS, JOBS, by_index, named, no_job
from gradloom.jobs.schema import IS_READY, attempts, jobs, specs
from gradloom.v1 import job_pb2, spec_pb2

MOST_JOBS: Final = 20
"""So many of those before it in the queue, and of those that hold devices, are told."""
MOST_ATTEMPTS: Final = 20


@dataclass(frozen=True)
class OtherJob:
    """A job that waits before the one in question, or holds devices that it could have."""

    uid: str
    name: JobName
    display_name: str
    priority: int
    state: int
    gpus: int | None
    cpu_replicas: int | None
    """What its spec asks for, as `Devices.demand` takes it."""
    devices: tuple[str, ...] = ()
    """That it holds."""
    progress: job_pb2.Progress | None = None


@dataclass(frozen=True)
class KnownAttempt:
    """An attempt of the job."""

    message: job_pb2.Attempt
    directory: Path
    has_reported: bool
    has_stepped: bool
    """It made at least one step of its own."""


@dataclass(frozen=True)
class Situation:
    """A job, its attempts, and those that it waits for."""

    uid: str
    name: JobName
    job: job_pb2.Job
    """Without its specs."""
    standing: Standing
    retry: spec_pb2.RetrySpec
    scheduling: spec_pb2.SchedulingSpec
    queued_time: datetime
    """When it last came into the queue."""
    gpus: int | None
    cpu_replicas: int | None
    max_attempts: int
    counted_attempts: int
    uncounted_attempts: int
    """As in `AttemptRow`, without those that live."""
    backoff_seconds: float | None
    """As stored; the scheduler counts it down."""
    attempts: tuple[KnownAttempt, ...]
    """Newest first: every live one and at most 20 that have ended."""
    position: int
    """In the queue for devices of its kind, from 1; 0 when it is not QUEUED."""
    ahead: tuple[OtherJob, ...]
    """In the queue's order, at most 20; empty when it is not QUEUED."""
    holders: tuple[OtherJob, ...]
    """Jobs that hold devices of the kind that it asks for; none when it is not QUEUED."""


class Situations:
    """The store's part that tells situations."""

    _database: Database

    def situation(self, name: JobName, devices: Devices) -> Situation:
        """How it is about a job, on a server with these devices. Raises NotFoundError."""
        with self._database.read() as connection:
            row = connection.execute(
                JOBS.add_columns(specs.c.spec).join(specs, specs.c.job_uid == jobs.c.uid).where(named(name))
            ).one_or_none()
            if row is None:
                raise no_job(name)
            waits = row.state == job_pb2.Job.QUEUED
            kind = devices.demand(row.gpus, row.cpu_replicas).kind
            before, ahead = _before(connection, row, kind, devices) if waits else (0, ())
            spec = spec_pb2.JobSpec.FromString(row.spec)
            standing = standing_of(row)
            return Situation(
                uid=row.uid,
                name=name,
                job=job_message(row),
                standing=standing,
                retry=spec.retry,
                scheduling=spec.scheduling,
                queued_time=row.queued_time,
                gpus=row.gpus,
                cpu_replicas=row.cpu_replicas,
                max_attempts=row.max_attempts,
                counted_attempts=row.counted_attempts,
                uncounted_attempts=row.uncounted_attempts,
                backoff_seconds=row.backoff_seconds,
                attempts=_attempts(connection, row.uid, name, standing),
                position=before + 1 if waits else 0,
                ahead=ahead,
                holders=_holders(connection, kind) if waits else (),
            )


def _attempts(connection: sa.Connection, uid: str, name: JobName, standing: Standing) -> tuple[KnownAttempt, ...]:
    newest = (
        sa.select(attempts)
        .where(attempts.c.job_uid == uid)
        .order_by(attempts.c.number.desc())
        # One of them may live.
        .limit(MOST_ATTEMPTS + 1)
    )
    return tuple(_attempt(name, row, standing) for row in connection.execute(newest))


def _attempt(name: JobName, row: sa.Row[Any], standing: Standing) -> KnownAttempt:
    progress = job_pb2.Progress.FromString(row.progress or b"")
    return KnownAttempt(
        message=attempt_message(name, row, standing),
        directory=Path(row.artifact_root, row.job_uid, str(row.number)),
        has_reported=row.beat > 0,
        has_stepped=progress.HasField("first_step_duration"),
    )


# The queue

_OTHER: Final[tuple[sa.ColumnElement[Any], ...]] = (
    jobs.c.uid,
    jobs.c.project,
    jobs.c.job_id,
    jobs.c.display_name,
    jobs.c.priority,
    jobs.c.state,
    jobs.c.gpus,
    jobs.c.cpu_replicas,
)


def _before(
    connection: sa.Connection, row: sa.Row[Any], kind: str, devices: Devices
) -> tuple[int, tuple[OtherJob, ...]]:
    """How many jobs for devices of the same kind are before this one, and the first of them.

    Jobs that back off are passed over. Reads the index of the queue alone, one demand after the other.
    """
    earlier = (jobs.c.priority > row.priority) | ((jobs.c.priority == row.priority) & (jobs.c.sequence < row.sequence))
    number = 0
    found: list[sa.Row[Any]] = []
    for demand in connection.scalars(DEMANDS).all():
        of_demand = (sa.text(IS_READY), jobs.c.demand == demand, earlier)
        first = (
            sa.select(*_OTHER, jobs.c.sequence)
            .where(*of_demand)
            .order_by(jobs.c.priority.desc(), jobs.c.sequence)
            .limit(MOST_JOBS)
        )
        others = connection.execute(by_index(first, "jobs_ready")).all()
        if not others or devices.demand(others[0].gpus, others[0].cpu_replicas).kind != kind:
            continue
        counted = sa.select(sa.func.count()).select_from(jobs).where(*of_demand)
        number += connection.execute(by_index(counted, "jobs_ready")).scalar_one()
        found += others
    found.sort(key=lambda other: (-other.priority, other.sequence))
    return number, tuple(_other(other) for other in found[:MOST_JOBS])


def _holders(connection: sa.Connection, kind: str) -> tuple[OtherJob, ...]:
    live: sa.Select[Any] = (
        sa.select(*_OTHER, attempts.c.devices, attempts.c.progress)
        .join(attempts, attempts.c.job_uid == jobs.c.uid)
        .where(ATTEMPT_IS_LIVE, ~attempts.c.devices_released)
        .order_by(jobs.c.sequence)
    )
    found = []
    for other in connection.execute(live):
        devices = tuple(name for name in json.loads(other.devices) if name.startswith(kind))
        if devices:
            found.append(_other(other, devices, job_pb2.Progress.FromString(other.progress or b"")))
    return tuple(found)


def _other(row: sa.Row[Any], devices: tuple[str, ...] = (), progress: job_pb2.Progress | None = None) -> OtherJob:
    return OtherJob(
        row.uid,
        JobName(row.project, row.job_id),
        row.display_name,
        row.priority,
        row.state,
        row.gpus,
        row.cpu_replicas,
        devices,
        progress,
    )
