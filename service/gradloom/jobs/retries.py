"""Jobs that RetryJob made: which checkpoint of another job they go on from, and that it stays while they need it."""

from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import InvalidRequestError, NotFoundError, refusal
from gradloom.faults import did_you_mean, shown
from gradloom.job import JobName
from gradloom.jobs.checkpoints import best_as_of, checkpoint_is, checkpoint_rows
from gradloom.jobs.database import Database
from gradloom.jobs.manifest import checkpoint_id, checkpoint_place
from gradloom.jobs.messages import stored_checkpoint
from gradloom.jobs.queries import no_job_of, uid_of
from gradloom.jobs.records import Retried, RetrySource
from gradloom.jobs.schema import checkpoints, jobs, retry_sources, specs
from gradloom.v1 import spec_pb2

MOST_TOLD: Final = 20
"""Of the checkpoints on record, to whoever names another one."""


class Retries:
    """The store's part that knows where retried jobs go on."""

    _database: Database

    def find_retried(self, name: JobName, given: str | None) -> Retried:
        """The job, and with the id of a checkpoint what a new one would go on from.

        Raises NotFoundError, and InvalidRequestError on `checkpoint` when the job has none of that id on record.
        """
        with self._database.read() as connection:
            uid = uid_of(connection, name)
            if given is None:
                return Retried(uid, None)
            place = checkpoint_place(given)
            source = None if place is None else _source(connection, uid, *place)
            if source is None:
                raise _not_on_record(connection, uid, given)
            return Retried(uid, source)

    def retry_source_of(self, uid: str) -> RetrySource | None:
        """What the job goes on from; None when RetryJob did not make it, or from scratch.

        Raises NotFoundError when that is on record no more.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(retry_sources).where(retry_sources.c.job_uid == uid)).one_or_none()
            if row is None:
                return None
            source = _source(connection, row.source_uid, row.attempt, row.path)
        if source is None:
            told = f"the checkpoint that the job goes on from is gone: {row.path} of {row.source_uid}"
            raise NotFoundError(told, f"projects/-/jobs/{row.source_uid}")
        return source


def hold_retried(connection: sa.Connection, uid: str, retried: Retried) -> None:
    """Holds on to what a new job goes on from, for as long as it has not ended.

    Raises NotFoundError, and InvalidRequestError on `checkpoint`, when that has gone since it was found.
    """
    if connection.scalar(sa.select(jobs.c.uid).where(jobs.c.uid == retried.uid, ~jobs.c.deleted)) is None:
        raise no_job_of(retried.uid)
    if retried.source is None:
        return
    checkpoint = retried.source.checkpoint
    attempt, path = checkpoint.checkpoint.attempt, checkpoint.checkpoint.path
    if connection.scalar(sa.select(checkpoints.c.path).where(checkpoint_is(retried.uid, attempt, path))) is None:
        raise _not_on_record(connection, retried.uid, checkpoint_id(attempt, path))
    row = {"job_uid": uid, "source_uid": retried.uid, "attempt": attempt, "path": path}
    connection.execute(retry_sources.insert(), row)


def _source(connection: sa.Connection, uid: str, attempt: int, path: str) -> RetrySource | None:
    stored = checkpoint_rows(connection, uid)
    row: sa.Row[Any] | None = next((row for row in stored if (row.attempt, row.path) == (attempt, path)), None)
    if row is None:
        return None
    best = best_as_of(row, stored)
    resolved = connection.execute(sa.select(specs.c.resolved_spec).where(specs.c.job_uid == uid)).scalar_one()
    return RetrySource(
        stored_checkpoint(row),
        stored_checkpoint(best) if best is not None else None,
        spec_pb2.ResolvedSpec.FromString(resolved or b""),
    )


def _not_on_record(connection: sa.Connection, uid: str, given: str) -> InvalidRequestError:
    """Tells those that are, the newest first."""
    known = [checkpoint_id(row.attempt, row.path) for row in checkpoint_rows(connection, uid)]
    if known:
        more = ", ..." if len(known) > MOST_TOLD else ""
        told = f"must be on record: one of {', '.join(known[:MOST_TOLD])}{more}"
    else:
        told = "must be left out: the job has no checkpoint on record"
    return refusal("checkpoint", f"{told}; got {shown(given)}{did_you_mean(given, known)}")
