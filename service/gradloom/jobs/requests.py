"""Each request once: what the first request of an id returned, every repeat of it returns."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import EtagMismatchError, refusal
from gradloom.jobs.database import Database
from gradloom.jobs.schema import requests, specs
from gradloom.v1 import job_pb2

_OLD: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""In place of the time of a request that is forgotten next."""


class Requests:
    """The store's part that forgets requests."""

    _database: Database

    def forget_requests(self) -> None:
        """Forgets what was there at the call before; what came since goes with the next call.

        No wall clock decides: one that jumps would forget what was asked for a moment ago.
        """
        with self._database.write(durable=False) as connection:
            connection.execute(requests.delete().where(requests.c.time == _OLD))
            connection.execute(requests.update().values(time=_OLD))


def once(
    connection: sa.Connection,
    request_id: str | None,
    method: str,
    digest: str,
    now: datetime,
    act: Callable[[], job_pb2.Job],
) -> job_pb2.Job:
    """Has `act` change the store, unless an earlier request of this id did: then gives what that one returned.

    Belongs into the write transaction of the change, so that change and memory are stored together or not at all.
    `act` returns the whole job; that of a repeat lacks its specs when the job is gone by now. Raises
    InvalidRequestError on `request_id` when the earlier request was another one, by its method or its digest.
    """
    if request_id is None:
        return act()
    job = first_result(connection, request_id, method, digest)
    if job is None:
        job = act()
        _remember(connection, request_id, method, digest, job, now)
    return job


def first_result(connection: sa.Connection, request_id: str, method: str, digest: str) -> job_pb2.Job | None:
    """What the first request of this id returned, as `once` gives it; None when there was none."""
    row = connection.execute(sa.select(requests).where(requests.c.request_id == request_id)).one_or_none()
    if row is None:
        return None
    if (row.method, row.digest) != (method, digest):
        told = f"must be new for a new request; {request_id!r} came with another {row.method}"
        raise refusal("request_id", told)
    return _returned(connection, row)


def refuse_stale(job: job_pb2.Job, etag: str) -> None:
    """Raises EtagMismatchError when an etag is given and the job has another one by now."""
    if etag and etag != job.etag:
        raise EtagMismatchError(job.name, f"{job.name} has changed since it had the etag {etag[:40]!r}; read it again")


def _remember(
    connection: sa.Connection, request_id: str, method: str, digest: str, job: job_pb2.Job, now: datetime
) -> None:
    """Keeps the job without its specs, which have rows of their own and do not change once they are there."""
    kept = job_pb2.Job()
    kept.CopyFrom(job)
    kept.ClearField("spec")
    if kept.HasField("resolved_spec"):
        kept.resolved_spec.Clear()
        kept.resolved_spec.SetInParent()
    connection.execute(
        requests.insert(),
        {
            "request_id": request_id,
            "method": method,
            "digest": digest,
            "job_uid": job.uid,
            "response": kept.SerializeToString(),
            "time": now,
        },
    )


def _returned(connection: sa.Connection, row: sa.Row[Any]) -> job_pb2.Job:
    job = job_pb2.Job.FromString(row.response)
    stored = connection.execute(sa.select(specs).where(specs.c.job_uid == row.job_uid)).one_or_none()
    if stored is None:
        job.ClearField("resolved_spec")
        return job
    job.spec.MergeFromString(stored.spec)
    if job.HasField("resolved_spec"):
        job.resolved_spec.MergeFromString(stored.resolved_spec)
    return job
