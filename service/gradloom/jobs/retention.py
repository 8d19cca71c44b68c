"""What stays of a job when it has ended: which checkpoints, and for how long the job itself.

Time is that of the service clock: the seconds for which servers have run over this database, all together. It outlives
restarts, stands still while no server runs, and no wall clock moves it.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from gradloom.job import JobName
from gradloom.jobs.checkpoints import checkpoint_is, checkpoint_rows, newest_kept
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.queries import JOB_HAS_ENDED, NEEDED_CHECKPOINTS
from gradloom.jobs.schema import attempts, checkpoints, jobs, service, specs
from gradloom.jobs.transitions import bury
from gradloom.spec.limits import seconds_of
from gradloom.v1 import spec_pb2

_IS_NEEDED: Final = sa.exists().where(NEEDED_CHECKPOINTS.c.source_uid == jobs.c.uid)
_IS_UNSWEPT: Final = sa.exists().where(attempts.c.job_uid == jobs.c.uid, ~attempts.c.swept)
_AT_ONCE: Final = 100


class Retention:
    """The store's part that lets go of what is no longer wanted."""

    _database: Database
    hub: Hub

    def clock_seconds(self) -> float:
        """What the service clock showed when it was last kept."""
        with self._database.read() as connection:
            return float(connection.scalar(sa.select(service.c.clock_seconds)) or 0.0)

    def keep_clock(self, seconds: float) -> None:
        """Keeps what the service clock shows, and begins the time to live of the jobs that have ended since."""
        with self._database.write(durable=False) as connection:
            if connection.execute(service.update().values(clock_seconds=seconds)).rowcount == 0:
                connection.execute(service.insert(), {"id": 1, "clock_seconds": seconds})
            connection.execute(
                jobs.update()
                .where(jobs.c.ttl_seconds.is_not(None), jobs.c.expires_at_seconds.is_(None), JOB_HAS_ENDED)
                .values(expires_at_seconds=seconds + jobs.c.ttl_seconds)
            )

    def has_time_to_keep(self) -> bool:
        """Whether a job is to be deleted some time after its end, so that the clock matters."""
        waits = sa.exists().where(jobs.c.ttl_seconds.is_not(None))
        with self._database.read() as connection:
            return bool(connection.scalar(sa.select(waits)))

    def delete_expired(self, clock_seconds: float) -> dict[str, JobName]:
        """Deletes jobs whose time to live is over and that no other job needs; returns the names they had, by uid."""
        expired = (
            sa.select(jobs.c.uid, jobs.c.project, jobs.c.job_id)
            .where(jobs.c.ttl_seconds.is_not(None), jobs.c.expires_at_seconds <= clock_seconds)
            .where(~jobs.c.deleted, ~_IS_NEEDED)
            .limit(_AT_ONCE)
        )
        with self._database.read() as connection:
            if connection.execute(expired).first() is None:
                return {}
        with self._database.write() as connection:
            rows = connection.execute(expired).all()
            for row in rows:
                bury(connection, row.uid)
        for row in rows:
            self.hub.publish(row.uid)
        return {row.uid: JobName(row.project, row.job_id) for row in rows}

    def unsettled_jobs(self, but: Collection[str] = ()) -> list[str]:
        """Uids of jobs that have ended, and whose checkpoints nobody has gone through since.

        Without those in use, and those that are named.
        """
        selection = (
            sa.select(jobs.c.uid)
            .where(jobs.c.unsettled, JOB_HAS_ENDED, ~jobs.c.deleted, ~_IS_NEEDED, ~_IS_UNSWEPT, jobs.c.uid.not_in(but))
            .limit(_AT_ONCE)
        )
        with self._database.read() as connection:
            return list(connection.scalars(selection))

    def settle_job(self, uid: str) -> None:
        """Takes the checkpoints off the record that spec.retention does not keep; their files are to be swept then.

        Changes nothing for a job that another one has come to need, that has not ended or is settled.
        """
        with self._database.write() as connection:
            due = sa.select(jobs.c.uid).where(jobs.c.uid == uid, jobs.c.unsettled, JOB_HAS_ENDED, ~_IS_NEEDED)
            if connection.scalar(due) is None:
                return
            spec = spec_pb2.JobSpec.FromString(
                connection.execute(sa.select(specs.c.spec).where(specs.c.job_uid == uid)).scalar_one()
            )
            stored = checkpoint_rows(connection, uid)
            kept = kept_after_end(stored, spec)
            for row in stored:
                if row not in kept:
                    connection.execute(checkpoints.delete().where(checkpoint_is(uid, row.attempt, row.path)))
            # A kill after this leaves the sweep to the next server.
            connection.execute(attempts.update().where(attempts.c.job_uid == uid).values(swept=False))
            connection.execute(jobs.update().where(jobs.c.uid == uid).values(unsettled=False))


def kept_after_end(stored: Sequence[sa.Row[Any]], spec: spec_pb2.JobSpec) -> list[sa.Row[Any]]:
    """Which checkpoints, newest first, stay of a job that has ended; what spec.retention leaves open stays."""
    retention = spec.retention
    best = [row for row in stored if row.best]
    if retention.HasField("keep_best"):
        best = best[: retention.keep_best]
    last = stored[: retention.keep_last] if retention.HasField("keep_last") else newest_kept(stored, spec)
    return [row for row in stored if row in best or row in last]


def retention_columns(spec: spec_pb2.JobSpec) -> dict[str, Any]:
    """What the row of a new job says of its retention."""
    retention = spec.retention
    return {
        "ttl_seconds": seconds_of(retention.ttl_duration) if retention.HasField("ttl_duration") else None,
        "unsettled": retention.HasField("keep_last") or retention.HasField("keep_best"),
    }
