"""What users change: jobs are created, cancelled and edited, each at most once a request."""

import json
import sqlite3
import uuid
from collections.abc import Collection
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Final

import sqlalchemy as sa

from gradloom.errors import AlreadyExistsError, WrongStateError
from gradloom.faults import Faults
from gradloom.job import DEFAULT_MAX_ATTEMPTS, JobName, state_name
from gradloom.jobs.checkpoints import choose_initial_weights
from gradloom.jobs.database import Database
from gradloom.jobs.editing import notice_of, put, refuse_another_spec
from gradloom.jobs.events import Hub
from gradloom.jobs.inserts import insert
from gradloom.jobs.messages import job_message
from gradloom.jobs.places import first_place
from gradloom.jobs.queries import uid_of, whole_job
from gradloom.jobs.records import Retried
from gradloom.jobs.requests import first_result, once, refuse_stale
from gradloom.jobs.retention import retention_columns
from gradloom.jobs.retries import hold_retried
from gradloom.jobs.schema import events, jobs, specs
from gradloom.jobs.transitions import add_events, move_job
from gradloom.spec.details import check_details
from gradloom.spec.limits import seconds_of
from gradloom.v1 import job_pb2, spec_pb2

RETRY_METHOD: Final = "RetryJob"


class JobWrites:
    """The users' half of the store's writes; each is done once a request id, see `gradloom.jobs.requests.once`."""

    _database: Database
    hub: Hub

    def create_job(
        self,
        name: JobName,
        job: job_pb2.Job,
        request_id: str | None,
        request_digest: str,
        now: datetime,
        retried: Retried | None = None,
    ) -> job_pb2.Job:
        """Stores a new QUEUED job under a new uid; durable when it returns.

        Takes display_name, labels, priority, spec, retry_of and retry_checkpoint from `job`; `retried` is what the last
        two name. A taken name: AlreadyExistsError. Initial weights that are not there: InvalidRequestError on
        `spec.model.initial_weights.job`. A retried job that has gone: NotFoundError; its checkpoint:
        InvalidRequestError on `checkpoint`.
        """
        method = "CreateJob" if retried is None else RETRY_METHOD
        try:
            with self._database.write() as connection:
                act = partial(self._create, connection, name, job, now, retried)
                created = once(connection, request_id, method, request_digest, now, act)
        except sqlite3.IntegrityError as error:
            raise AlreadyExistsError(f"there is a job {name} already", str(name)) from error
        self.hub.publish(created.uid)
        return created

    def retried_before(self, request_id: str, request_digest: str) -> job_pb2.Job | None:
        """What an earlier RetryJob of this id returned: a repeat asks no more what has become of the old job.

        Raises InvalidRequestError as every call does that is given the id of another one.
        """
        with self._database.read() as connection:
            return first_result(connection, request_id, RETRY_METHOD, request_digest)

    def cancel_job(self, name: JobName, request_id: str | None, request_digest: str, now: datetime) -> job_pb2.Job:
        """What waits or is PAUSED becomes CANCELLED, what runs CANCELLING; CANCELLING and CANCELLED stay as they are.

        Returns the whole job. Raises NotFoundError, and WrongStateError for SUCCEEDED and FAILED.
        """
        with self._database.write() as connection:
            act = partial(_cancel, connection, name, now)
            cancelled = once(connection, request_id, "CancelJob", request_digest, now, act)
        self.hub.publish(cancelled.uid)
        return cancelled

    def update_job(
        self,
        name: JobName,
        wanted: job_pb2.Job,
        paths: Collection[str],
        request_id: str | None,
        request_digest: str,
        now: datetime,
    ) -> job_pb2.Job:
        """Takes what the paths of `gradloom.jobs.editing` say from `wanted`; its etag, if any, must be the job's.

        Returns the whole job; an event tells what changed, and nothing happens when nothing does. Raises NotFoundError,
        EtagMismatchError, InvalidRequestError for what the job then must not be.
        """
        with self._database.write() as connection:
            act = partial(_update, connection, name, wanted, paths, now)
            updated = once(connection, request_id, "UpdateJob", request_digest, now, act)
        self.hub.publish(updated.uid)
        return updated

    def _create(
        self, connection: sa.Connection, name: JobName, job: job_pb2.Job, now: datetime, retried: Retried | None
    ) -> job_pb2.Job:
        self._database.need_room()
        uid = str(uuid.uuid4())
        row = _insert_job(connection, uid, name, job, now)
        if retried is not None:
            hold_retried(connection, uid, retried)
            if retried.source is not None:
                place = first_place(retried.source, job.spec)
                connection.execute(jobs.update().where(jobs.c.uid == uid).values(place=place))
            return whole_job(connection, uid)
        created = job_message(row)
        created.spec.CopyFrom(job.spec)
        return created


def _cancel(connection: sa.Connection, name: JobName, now: datetime) -> job_pb2.Job:
    uid = uid_of(connection, name)
    cancel(connection, uid, now)
    job = whole_job(connection, uid)
    if job.state not in (job_pb2.Job.CANCELLING, job_pb2.Job.CANCELLED):
        told = f"{name} is {state_name(job.state)}; a job that has ended stays as it is"
        raise WrongStateError(str(name), told)
    return job


def _update(
    connection: sa.Connection, name: JobName, wanted: job_pb2.Job, paths: Collection[str], now: datetime
) -> job_pb2.Job:
    uid = uid_of(connection, name)
    before, after = whole_job(connection, uid), job_pb2.Job()
    after.CopyFrom(before)
    refuse_stale(before, wanted.etag)
    put(after, wanted, paths)
    faults = Faults()
    refuse_another_spec(before, wanted, paths, faults)
    check_details(after, faults)
    faults.raise_any()
    if not (message := notice_of(before, after)):
        return before
    details = {"display_name": after.display_name, "labels": _labels(after), "priority": after.priority}
    connection.execute(jobs.update().where(jobs.c.uid == uid).values(**details))
    add_events(connection, uid, 0, [job_pb2.Event(kind=job_pb2.Event.NOTICE, message=message)], now)
    return whole_job(connection, uid)


def _insert_job(connection: sa.Connection, uid: str, name: JobName, job: job_pb2.Job, now: datetime) -> SimpleNamespace:
    """Stores the job with all that belongs to it; returns what `job_message` reads of its row."""
    resources = job.spec.resources
    retry = job.spec.retry
    scheduling = job.spec.scheduling
    inserted = {
        "uid": uid,
        "project": name.project,
        "job_id": name.job_id,
        "display_name": job.display_name,
        "labels": _labels(job),
        "priority": job.priority,
        "state": job_pb2.Job.QUEUED,
        "state_reason": job_pb2.Job.REASON_UNSPECIFIED,
        "state_message": "",
        "event_number": 1,
        "gpus": resources.gpus if resources.HasField("gpus") else None,
        "cpu_replicas": resources.cpu_replicas if resources.HasField("cpu_replicas") else None,
        "preemptible": scheduling.preemptible,
        "queue_seconds_left": _seconds(scheduling, "max_queue_duration"),
        "run_seconds_left": _seconds(scheduling, "max_run_duration"),
        "max_attempts": retry.max_attempts if retry.HasField("max_attempts") else DEFAULT_MAX_ATTEMPTS,
        **retention_columns(job.spec),
        "attempt_count": 0,
        "counted_attempts": 0,
        "uncounted_attempts": 0,
        "retry_of": job.retry_of,
        "retry_checkpoint": job.retry_checkpoint,
        "create_time": now,
        "update_time": now,
        "queued_time": now,
    }
    insert(connection, jobs, inserted)
    insert(connection, specs, {"job_uid": uid, "spec": job.spec.SerializeToString()})
    choose_initial_weights(connection, uid, name.project, job.spec)
    insert(
        connection,
        events,
        {
            "job_uid": uid,
            "number": 1,
            "time": now,
            "kind": job_pb2.Event.CREATED,
            "attempt": 0,
            "state": job_pb2.Job.QUEUED,
            "reason": job_pb2.Job.REASON_UNSPECIFIED,
            "message": "",
        },
    )
    return SimpleNamespace(**_NOTHING_YET | inserted)


_NOTHING_YET: Final = dict.fromkeys(
    ("start_time", "end_time", "error", "export", "progress", "place", "checkpoint_step")
)
"""What `job_message` reads that a new job does not have."""


def _seconds(scheduling: spec_pb2.SchedulingSpec, name: str) -> float | None:
    """A limit in seconds; None without one."""
    return seconds_of(getattr(scheduling, name)) if scheduling.HasField(name) else None


def cancel(connection: sa.Connection, uid: str, now: datetime) -> None:
    """Tries both ways out; neither opens for a job that is being cancelled or has ended."""
    reason, message = job_pb2.Job.CANCELLED_BY_USER, "a user cancelled the job"
    for came_from, to in (
        ((job_pb2.Job.QUEUED, job_pb2.Job.PAUSED), job_pb2.Job.CANCELLED),
        ((job_pb2.Job.STARTING, job_pb2.Job.RUNNING, job_pb2.Job.PAUSING), job_pb2.Job.CANCELLING),
    ):
        if move_job(connection, uid, to, now, came_from=came_from, reason=reason, message=message) is not None:
            return


def _labels(job: job_pb2.Job) -> str:
    return json.dumps(dict(job.labels), sort_keys=True)
