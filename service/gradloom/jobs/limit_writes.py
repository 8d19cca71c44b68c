"""What is left of a job's limits: how long it may still wait, and has to wait, kept as seconds across restarts."""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.queries import by_index
from gradloom.jobs.schema import AWAITS_FIRST_ATTEMPT, BACKS_OFF, jobs
from gradloom.jobs.transitions import move_job
from gradloom.v1 import job_pb2


class Limit(Enum):
    """A limit that is counted down, by its column."""

    BACKOFF = "backoff_seconds"
    QUEUE = "queue_seconds_left"
    RUN = "run_seconds_left"


class LimitWrites:
    """The store's part that keeps limits."""

    _database: Database
    hub: Hub

    def backoffs(self) -> dict[str, float]:
        """The seconds that each waiting job still has to wait before its next attempt, by uid."""
        return self._seconds(Limit.BACKOFF, BACKS_OFF, "jobs_that_back_off")

    def queue_seconds_left(self) -> dict[str, float]:
        """The seconds that each job with a limit may still wait for its first attempt, by uid."""
        return self._seconds(Limit.QUEUE, AWAITS_FIRST_ATTEMPT, "jobs_with_a_queue_limit")

    def _seconds(self, limit: Limit, applies: str, index: str) -> dict[str, float]:
        selection = by_index(sa.select(jobs.c.uid, jobs.c[limit.value]).where(sa.text(applies)), index)
        with self._database.read() as connection:
            rows = connection.execute(selection)
            return {uid: seconds for uid, seconds in rows}

    def count_down(self, limit: Limit, left: Mapping[str, float]) -> None:
        """Stores what is left, by uid; a limit that is no more stays so. May be lost with the machine's power."""
        column = jobs.c[limit.value]
        update = (
            jobs.update()
            .where(jobs.c.uid == sa.bindparam("job"), column.is_not(None))
            .values({column: sa.bindparam("left")})
        )
        values: list[dict[str, Any]] = [{"job": uid, "left": seconds} for uid, seconds in left.items()]
        with self._database.write(durable=False) as connection:
            connection.execute(update, values)

    def end_backoffs(self, uids: Collection[str]) -> None:
        """These jobs, of which there is one at least, may start from now on."""
        with self._database.write(durable=False) as connection:
            update = jobs.update().where(jobs.c.uid == sa.bindparam("job")).values(backoff_seconds=None)
            connection.execute(update, [{"job": uid} for uid in uids])

    def fail_waiting(self, uid: str, reason: int, message: str, now: datetime) -> bool:
        """QUEUED becomes FAILED; False when it no longer waits: then nothing changed."""
        with self._database.write() as connection:
            # None follows where it was cancelled, deleted and forgotten since it was looked at.
            moved = move_job(
                connection,
                uid,
                job_pb2.Job.FAILED,
                now,
                came_from=[job_pb2.Job.QUEUED],
                reason=reason,
                message=message,
                error=job_pb2.JobError(message=message).SerializeToString(),
            )
        self.hub.publish(uid)
        return moved is not None
