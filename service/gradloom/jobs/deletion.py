"""Deleted jobs: gone for every reader at once, ended if they live, and forgotten once no file of theirs is left.

A deleted job keeps its rows, as a tombstone, until its attempt has ended and its files are removed; so a server that
dies in between leaves the rest of the work to the next one.
"""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from gradloom.errors import WrongStateError
from gradloom.job import TERMINAL_STATES, JobName, state_name
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.job_writes import cancel
from gradloom.jobs.queries import JOB_HAS_ENDED, NEEDED_CHECKPOINTS, named, no_job, whole_job
from gradloom.jobs.records import DeletedJob, DeleteOutcome
from gradloom.jobs.requests import once, refuse_stale
from gradloom.jobs.schema import (
    artifacts,
    attempts,
    checkpoints,
    events,
    initial_weights,
    jobs,
    retry_sources,
    scalars,
    specs,
)
from gradloom.jobs.transitions import bury
from gradloom.v1 import job_pb2

_LONG: Final = (scalars, events)
_SHORT: Final = (artifacts, checkpoints, initial_weights, retry_sources, attempts, specs)
"""Each before those that it refers to."""
_ROWS_AT_ONCE: Final = 5000
"""Others write between two such parts of a long table."""
_UIDS_AT_ONCE: Final = 10_000
"""SQLite takes 32,766 values in a statement, unless it was built to take more."""
_SHOWN_JOBS: Final = 5


class Deletion:
    """The store's part that deletes jobs."""

    _database: Database
    hub: Hub

    def delete_job(
        self,
        name: JobName,
        etag: str,
        *,
        force: bool,
        allow_missing: bool,
        request_id: str | None,
        request_digest: str,
        now: datetime,
    ) -> DeleteOutcome:
        """Makes a job a tombstone; with `force` also one that has not ended, which is cancelled.

        Raises NotFoundError unless `allow_missing`, EtagMismatchError, and WrongStateError for a job that has not ended
        and for one with a checkpoint that a job which has not ended starts from.
        """
        found = DeleteOutcome()
        with self._database.write() as connection:
            act = partial(_delete, connection, name, etag, force, allow_missing, now, found)
            once(connection, request_id, "DeleteJob", request_digest, now, act)
        if found.job is not None:
            self.hub.publish(found.job.uid)
        return found

    def deleted_jobs(self, but: Collection[str] = (), limit: int = 100) -> list[DeletedJob]:
        """Tombstones of jobs that have ended, oldest first, without those that are named by uid."""
        selection = (
            sa.select(jobs.c.uid)
            .where(jobs.c.deleted, JOB_HAS_ENDED, jobs.c.uid.not_in(but))
            .order_by(jobs.c.sequence)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [DeletedJob(uid, _roots(connection, uid)) for uid in connection.scalars(selection).all()]

    def forget_job(self, uid: str) -> None:
        """Removes every row of a tombstone, whose files are gone; may be repeated, also after a kill half-way."""
        for table in _LONG:
            while not self._forget_some(table, uid):
                pass
        with self._database.write(durable=False) as connection:
            for table in _SHORT:
                connection.execute(table.delete().where(table.c.job_uid == uid))
            connection.execute(jobs.delete().where(jobs.c.uid == uid, jobs.c.deleted))

    def known_jobs(self, uids: Collection[str]) -> set[str]:
        """Those of the uids that are a job's, tombstones included."""
        asked, known = list(uids), set[str]()
        with self._database.read() as connection:
            for start in range(0, len(asked), _UIDS_AT_ONCE):
                some = jobs.c.uid.in_(asked[start : start + _UIDS_AT_ONCE])
                known.update(connection.scalars(sa.select(jobs.c.uid).where(some)))
        return known

    def _forget_some(self, table: sa.Table, uid: str) -> bool:
        """Removes some of the job's rows of a long table; tells whether those were the last."""
        mine = table.c.job_uid == uid
        with self._database.write(durable=False) as connection:
            beyond = sa.select(table.c.number).where(mine).order_by(table.c.number).offset(_ROWS_AT_ONCE).limit(1)
            first_left = connection.scalar(beyond)
            some = mine if first_left is None else mine & (table.c.number < first_left)
            connection.execute(table.delete().where(some))
        return first_left is None


def _delete(
    connection: sa.Connection,
    name: JobName,
    etag: str,
    force: bool,
    allow_missing: bool,
    now: datetime,
    outcome: DeleteOutcome,
) -> job_pb2.Job:
    uid = connection.scalar(sa.select(jobs.c.uid).where(named(name)))
    if uid is None:
        if allow_missing:
            return job_pb2.Job()
        raise no_job(name)
    job = whole_job(connection, uid)
    refuse_stale(job, etag)
    if job.state not in TERMINAL_STATES and not force:
        told = f"{name} is {state_name(job.state)}; cancel it first, or delete it with force, which cancels it"
        raise WrongStateError(str(name), told)
    _refuse_needed(connection, uid, name)
    cancel(connection, uid, now)
    outcome.job = job
    outcome.ended = job.state not in TERMINAL_STATES and whole_job(connection, uid).state in TERMINAL_STATES
    bury(connection, uid)
    return job


def _refuse_needed(connection: sa.Connection, uid: str, name: JobName) -> None:
    users = (
        sa.select(jobs.c.project, jobs.c.job_id)
        .join(NEEDED_CHECKPOINTS, NEEDED_CHECKPOINTS.c.job_uid == jobs.c.uid)
        .where(NEEDED_CHECKPOINTS.c.source_uid == uid, ~jobs.c.deleted)
        .order_by(jobs.c.sequence)
    )
    names = [str(JobName(project, job_id)) for project, job_id in connection.execute(users)]
    if names:
        more = f" and {len(names) - _SHOWN_JOBS} more" if len(names) > _SHOWN_JOBS else ""
        told = f"{name} has a checkpoint that {', '.join(names[:_SHOWN_JOBS])}{more} may still start from"
        raise WrongStateError(str(name), told)


def _roots(connection: sa.Connection, uid: str) -> tuple[Path, ...]:
    roots = sa.select(attempts.c.artifact_root).where(attempts.c.job_uid == uid).distinct()
    return tuple(Path(root) for root in connection.scalars(roots))
