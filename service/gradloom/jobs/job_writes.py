"""What users change: jobs are created and cancelled, each at most once a request."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from gradloom.errors import AlreadyExistsError, FieldFault, InvalidRequestError, WrongStateError
from gradloom.job import DEFAULT_MAX_ATTEMPTS, JobName, state_name
from gradloom.jobs.checkpoints import choose_initial_weights
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.messages import job_message
from gradloom.jobs.queries import FULL, JOBS, JOBS_WITH_SPECS, job_in_view, uid_of
from gradloom.jobs.schema import events, jobs, requests, specs
from gradloom.jobs.transitions import move_job
from gradloom.v1 import job_pb2

REQUEST_RETENTION: Final = timedelta(hours=24)
"""For how long at least a repeated request returns the first result."""


class JobWrites:
    """The users' half of the store's writes."""

    _database: Database
    hub: Hub

    def create_job(
        self, name: JobName, job: job_pb2.Job, request_id: str | None, request_digest: str, now: datetime
    ) -> job_pb2.Job:
        """Stores a new QUEUED job under a new uid; durable when it returns.

        Takes display_name, labels and spec from `job`. The same request_id returns what the first call returned; with
        another digest: InvalidRequestError on `request_id`. A taken name: AlreadyExistsError. Initial weights that are
        not there: InvalidRequestError on `spec.model.initial_weights.job`.
        """
        uid = str(uuid.uuid4())
        try:
            with self._database.write() as connection:
                first = _first_result(connection, request_id, "CreateJob", request_digest)
                if first is not None:
                    first.spec.MergeFromString(_spec(connection, first.uid))
                    return first
                _insert_job(connection, uid, name, job, now)
                created = _job(connection, uid)
                _remember(connection, request_id, "CreateJob", request_digest, created, now)
        except exc.IntegrityError as error:
            raise AlreadyExistsError(f"there is a job {name} already") from error
        self.hub.publish(uid)
        created.spec.CopyFrom(job.spec)
        return created

    def cancel_job(self, name: JobName, request_id: str | None, request_digest: str, now: datetime) -> job_pb2.Job:
        """QUEUED becomes CANCELLED, STARTING and RUNNING become CANCELLING; CANCELLING and CANCELLED stay as they are.

        Returns the whole job. Raises NotFoundError, WrongStateError for SUCCEEDED and FAILED, InvalidRequestError as
        create_job does.
        """
        with self._database.write() as connection:
            first = _first_result(connection, request_id, "CancelJob", request_digest)
            if first is None:
                uid = uid_of(connection, name)
                _cancel(connection, uid, now)
                first = _job(connection, uid)
                if first.state not in (job_pb2.Job.CANCELLING, job_pb2.Job.CANCELLED):
                    raise WrongStateError(
                        str(name), f"{name} is {state_name(first.state)}; a job that has ended stays as it is"
                    )
                _remember(connection, request_id, "CancelJob", request_digest, first, now)
            whole = job_in_view(connection.execute(JOBS_WITH_SPECS.where(jobs.c.uid == first.uid)).one(), FULL)
        self.hub.publish(first.uid)
        # Nothing resolves a spec after a cancel, so these are what they were at the first request.
        first.spec.CopyFrom(whole.spec)
        if whole.HasField("resolved_spec"):
            first.resolved_spec.CopyFrom(whole.resolved_spec)
        return first


def _insert_job(connection: sa.Connection, uid: str, name: JobName, job: job_pb2.Job, now: datetime) -> None:
    resources = job.spec.resources
    retry = job.spec.retry
    connection.execute(
        jobs.insert(),
        {
            "uid": uid,
            "project": name.project,
            "job_id": name.job_id,
            "display_name": job.display_name,
            "labels": json.dumps(dict(job.labels), sort_keys=True),
            "state": job_pb2.Job.QUEUED,
            "state_reason": job_pb2.Job.REASON_UNSPECIFIED,
            "state_message": "",
            "event_number": 1,
            "gpus": resources.gpus if resources.HasField("gpus") else None,
            "cpu_replicas": resources.cpu_replicas if resources.HasField("cpu_replicas") else None,
            "max_attempts": retry.max_attempts if retry.HasField("max_attempts") else DEFAULT_MAX_ATTEMPTS,
            "attempt_count": 0,
            "counted_attempts": 0,
            "uncounted_attempts": 0,
            "create_time": now,
            "update_time": now,
            "queued_time": now,
        },
    )
    connection.execute(specs.insert(), {"job_uid": uid, "spec": job.spec.SerializeToString()})
    choose_initial_weights(connection, uid, name.project, job.spec)
    connection.execute(
        events.insert().values(
            job_uid=uid,
            number=1,
            time=now,
            kind=job_pb2.Event.CREATED,
            attempt=0,
            state=job_pb2.Job.QUEUED,
            reason=job_pb2.Job.REASON_UNSPECIFIED,
            message="",
        )
    )


def _cancel(connection: sa.Connection, uid: str, now: datetime) -> None:
    """Tries both ways out; neither opens for a job that is being cancelled or has ended."""
    reason, message = job_pb2.Job.CANCELLED_BY_USER, "a user cancelled the job"
    for came_from, to in (
        ((job_pb2.Job.QUEUED,), job_pb2.Job.CANCELLED),
        ((job_pb2.Job.STARTING, job_pb2.Job.RUNNING), job_pb2.Job.CANCELLING),
    ):
        if move_job(connection, uid, to, now, came_from=came_from, reason=reason, message=message) is not None:
            return


def _job(connection: sa.Connection, uid: str) -> job_pb2.Job:
    return job_message(connection.execute(JOBS.where(jobs.c.uid == uid)).one())


def _spec(connection: sa.Connection, uid: str) -> bytes:
    spec: bytes = connection.execute(sa.select(specs.c.spec).where(specs.c.job_uid == uid)).scalar_one()
    return spec


def _first_result(connection: sa.Connection, request_id: str | None, method: str, digest: str) -> job_pb2.Job | None:
    """What the first request of this id returned, without specs; None for a new one."""
    if request_id is None:
        return None
    row = connection.execute(sa.select(requests).where(requests.c.request_id == request_id)).one_or_none()
    if row is None:
        return None
    if (row.method, row.digest) != (method, digest):
        raise InvalidRequestError(
            [FieldFault("request_id", f"must be new for a new request; {request_id!r} came with another {row.method}")]
        )
    return job_pb2.Job.FromString(row.response)


def _remember(
    connection: sa.Connection, request_id: str | None, method: str, digest: str, result: job_pb2.Job, now: datetime
) -> None:
    if request_id is None:
        return
    connection.execute(requests.delete().where(requests.c.time < now - REQUEST_RETENTION))
    connection.execute(
        requests.insert(),
        {
            "request_id": request_id,
            "method": method,
            "digest": digest,
            "job_uid": result.uid,
            "response": result.SerializeToString(),
            "time": now,
        },
    )
