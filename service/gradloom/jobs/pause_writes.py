"""Pauses: a job gives its devices back, or waits no more, until its user resumes it."""

from datetime import datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import WrongStateError
from gradloom.job import JobName, state_name
from gradloom.jobs.attempt_writes import stop_attempt
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.queries import BASIC, job_by_name, job_in_view, no_job, whole_job
from gradloom.jobs.requests import once, refuse_stale
from gradloom.jobs.transitions import move_job
from gradloom.v1 import job_pb2

Job = job_pb2.Job

_PAUSED: Final = "a user paused the job"


class PauseWrites:
    """The store's part that pauses and resumes jobs, each at most once a request id."""

    _database: Database
    hub: Hub

    def pause_job(self, name: JobName, etag: str, request_id: str | None, digest: str, now: datetime) -> job_pb2.Job:
        """QUEUED becomes PAUSED, STARTING and RUNNING become PAUSING; PAUSING and PAUSED stay as they are.

        A live attempt is to save a checkpoint and to end. Returns the whole job. Raises NotFoundError,
        EtagMismatchError, and WrongStateError for a job that is being cancelled or has ended.
        """
        with self._database.write() as connection:
            act = partial(_pause, connection, name, etag, now)
            paused = once(connection, request_id, "PauseJob", digest, now, act)
        self.hub.publish(paused.uid)
        return paused

    def resume_job(self, name: JobName, etag: str, request_id: str | None, digest: str, now: datetime) -> job_pb2.Job:
        """PAUSED becomes QUEUED; QUEUED, STARTING and RUNNING stay as they are.

        Returns the whole job. Raises NotFoundError, EtagMismatchError, and WrongStateError for any other state.
        """
        with self._database.write() as connection:
            act = partial(_resume, connection, name, etag, now)
            resumed = once(connection, request_id, "ResumeJob", digest, now, act)
        self.hub.publish(resumed.uid)
        return resumed


def _found(connection: sa.Connection, name: JobName, etag: str) -> str:
    """The uid of a job that has the etag, if one is given; its specs, which may be large, are not read for that."""
    row = job_by_name(connection, name, BASIC)
    if row is None:
        raise no_job(name)
    refuse_stale(job_in_view(row, BASIC), etag)
    uid: str = row.uid
    return uid


def _pause(connection: sa.Connection, name: JobName, etag: str, now: datetime) -> job_pb2.Job:
    uid = _found(connection, name, etag)
    # Whoever resumes it means now: a backoff is over.
    told: dict[str, Any] = {"reason": Job.PAUSED_BY_USER, "message": _PAUSED, "backoff_seconds": None}
    if move_job(connection, uid, Job.PAUSED, now, came_from=[Job.QUEUED], **told) is None:
        number = move_job(connection, uid, Job.PAUSING, now, **told)
        if number is not None:
            stop_attempt(connection, uid, number, Job.PAUSED_BY_USER, _PAUSED)
    job = whole_job(connection, uid)
    if job.state not in (Job.PAUSING, Job.PAUSED):
        raise WrongStateError(str(name), f"{name} is {state_name(job.state)}; it cannot be paused any more")
    return job


def _resume(connection: sa.Connection, name: JobName, etag: str, now: datetime) -> job_pb2.Job:
    uid = _found(connection, name, etag)
    move_job(connection, uid, Job.QUEUED, now, came_from=[Job.PAUSED], message="a user resumed the job")
    job = whole_job(connection, uid)
    if job.state not in (Job.QUEUED, Job.STARTING, Job.RUNNING):
        told = "it can be resumed once it is PAUSED" if job.state == Job.PAUSING else "there is nothing to resume"
        raise WrongStateError(str(name), f"{name} is {state_name(job.state)}; {told}")
    return job
