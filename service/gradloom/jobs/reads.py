"""What the store tells about jobs, their events, attempts and artifacts."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from gradloom.errors import CursorExpiredError, NotFoundError
from gradloom.job import NEXT_STATES, JobName
from gradloom.jobs import paging
from gradloom.jobs.database import Database
from gradloom.jobs.filters import job_condition
from gradloom.jobs.messages import (
    artifact_message,
    attempt_message,
    attempt_row,
    checkpoint_message,
    event_message,
    standing_of,
)
from gradloom.jobs.orders import JobOrder
from gradloom.jobs.queries import (
    ATTEMPT_IS_LIVE,
    ATTEMPTS,
    BASIC,
    DEMANDS,
    FULL,
    by_index,
    job_by_name,
    job_by_uid,
    job_in_view,
    no_job,
    no_job_of,
    uid_of,
    with_view,
)
from gradloom.jobs.records import AttemptRow, JobSnapshot, QueuedJob, StoredArtifact
from gradloom.jobs.schema import IS_READY, artifacts, attempts, checkpoints, events, jobs, specs
from gradloom.v1 import job_pb2, spec_pb2

M = TypeVar("M", bound=Message)


class Reads:
    """The reading half of the store. Each method sees one moment of the database."""

    _database: Database

    def get_job(self, name: JobName, view: int = FULL) -> job_pb2.Job:
        """The job. Raises NotFoundError."""
        return self.snapshot(name, view).job

    def snapshot(self, name: JobName, view: int = BASIC) -> JobSnapshot:
        """The job and the number of its newest event, read together. Raises NotFoundError."""
        with self._database.read() as connection:
            row = job_by_name(connection, name, view)
        if row is None:
            raise no_job(name)
        return JobSnapshot(row.uid, job_in_view(row, view), row.event_number)

    def snapshot_by_uid(self, uid: str, view: int = BASIC) -> JobSnapshot:
        """The same by uid. Raises NotFoundError."""
        with self._database.read() as connection:
            row = job_by_uid(connection, uid, view)
        if row is None or row.deleted:
            raise no_job_of(uid)
        return JobSnapshot(row.uid, job_in_view(row, view), row.event_number)

    def look(self, uid: str, after: int, limit: int) -> JobSnapshot:
        """The job without its specs, and the first events that follow event `after`, at most `limit`.

        Raises NotFoundError.
        """
        with self._database.read() as connection:
            row = job_by_uid(connection, uid, BASIC)
            if row is None or row.deleted:
                raise no_job_of(uid)
            new = row.event_number > after
            values = {"uid": uid, "number": after, "most": limit}
            found = connection.execute(_EVENTS_AFTER, values).all() if new else []
        return JobSnapshot(row.uid, job_in_view(row, BASIC), row.event_number, tuple(map(event_message, found)))

    def list_jobs(
        self,
        project: str,
        page_size: int = 0,
        page_token: str = "",
        view: int = BASIC,
        filter_text: str = "",
        order_by: str = "",
        most_bytes: int = sys.maxsize,
    ) -> tuple[list[job_pb2.Job], str]:
        """A page of a project's jobs that pass the filter, in their order, and the next page's token, empty at the end.

        Takes page_size (0: 50; at most 1,000), filter and order_by as the request says them. A page ends early, but not
        before its first job, when it would be larger than `most_bytes`. InvalidRequestError on `page_size` when
        negative, on `page_token` when it was not given out for this query, and on `filter` and `order_by`.
        """
        order, condition = JobOrder(order_by), job_condition(filter_text)
        query = f"jobs of {project} by {order} with {filter_text}"
        key = paging.read_token(page_token, query, order.key_types)
        selection = order.arranged(with_view(view), key).where(jobs.c.project == project, ~jobs.c.deleted)
        if condition is not None:
            selection = selection.where(condition)
        # Every filter is a statement of its own: kept compiled, those of hostile callers would fill the memory.
        options = {} if condition is None else {"compiled_cache": None}
        with self._database.read() as connection:
            return _page(
                connection,
                selection,
                page_size,
                lambda row: job_in_view(row, view),
                lambda row: paging.write_token(query, *order.key(row)),
                most_bytes,
                options,
            )

    def events_after(self, uid: str, number: int, limit: int = 100) -> list[job_pb2.Event]:
        """The events that follow event `number`, in order, at most `limit`.

        Raises NotFoundError, and CursorExpiredError for a number that the job never had.
        """
        with self._database.read() as connection:
            newest = connection.scalar(_NEWEST_EVENT, {"uid": uid})
            if newest is None:
                raise no_job_of(uid)
            if not 0 <= number <= newest:
                raise CursorExpiredError(f"the job has events 1 to {newest}; the cursor points behind event {number}")
            found = connection.execute(_EVENTS_AFTER, {"uid": uid, "number": number, "most": limit})
            return [event_message(row) for row in found]

    def list_attempts(
        self, name: JobName, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[job_pb2.Attempt], str]:
        """A page of the job's attempts, oldest first.

        Raises NotFoundError, and InvalidRequestError as list_jobs does.
        """
        query = f"attempts of {name}"
        key = paging.read_token(page_token, query, (int,))
        with self._database.read() as connection:
            job = job_by_name(connection, name, BASIC)
            if job is None:
                raise no_job(name)
            standing = standing_of(job)
            selection = sa.select(attempts).where(attempts.c.job_uid == job.uid).order_by(attempts.c.number)
            if key:
                selection = selection.where(attempts.c.number > key[0])
            return _page(
                connection,
                selection,
                page_size,
                lambda row: attempt_message(name, row, standing),
                lambda row: paging.write_token(query, row.number),
            )

    def list_artifacts(
        self, name: JobName, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[job_pb2.Artifact], str]:
        """A page of the job's artifacts by attempt and path.

        Raises NotFoundError, and InvalidRequestError as list_jobs does.
        """
        query = f"artifacts of {name}"
        key = paging.read_token(page_token, query, (int, str))
        with self._database.read() as connection:
            selection = (
                sa.select(artifacts)
                .where(artifacts.c.job_uid == uid_of(connection, name))
                .order_by(artifacts.c.attempt, artifacts.c.path)
            )
            if key:
                selection = selection.where(sa.tuple_(artifacts.c.attempt, artifacts.c.path) > key)
            return _page(
                connection,
                selection,
                page_size,
                lambda row: artifact_message(name, row),
                lambda row: paging.write_token(query, row.attempt, row.path),
            )

    def list_checkpoints(
        self, name: JobName, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[job_pb2.Checkpoint], str]:
        """A page of the job's checkpoints, newest first.

        Raises NotFoundError, and InvalidRequestError as list_jobs does.
        """
        query = f"checkpoints of {name}"
        key = paging.read_token(page_token, query, (int, int, int, str))
        # One type in the row's and in the token's keys: not every database compares a truth value with a number.
        final = sa.cast(checkpoints.c.final, sa.Integer)
        place = (checkpoints.c.attempt, checkpoints.c.global_step, final, checkpoints.c.path)
        with self._database.read() as connection:
            selection = (
                sa.select(checkpoints)
                .where(checkpoints.c.job_uid == uid_of(connection, name))
                .order_by(*(column.desc() for column in place))
            )
            if key:
                selection = selection.where(sa.tuple_(*place) < key)
            return _page(
                connection,
                selection,
                page_size,
                lambda row: checkpoint_message(name, row),
                lambda row: paging.write_token(query, row.attempt, row.global_step, int(row.final), row.path),
            )

    def get_artifact(self, name: JobName, artifact_id: str) -> StoredArtifact:
        """The artifact and where it lies. Raises NotFoundError."""
        with self._database.read() as connection:
            uid = uid_of(connection, name)
            row = connection.execute(
                sa.select(artifacts).where(artifacts.c.job_uid == uid, artifacts.c.artifact_id == artifact_id)
            ).one_or_none()
            if row is None:
                missing = name.artifact(artifact_id)
                raise NotFoundError(f"there is no artifact {missing}", missing)
            attempt = attempt_row(
                connection.execute(ATTEMPTS.where(attempts.c.job_uid == uid, attempts.c.number == row.attempt)).one()
            )
            return StoredArtifact(artifact_message(name, row), uid, attempt.directory)

    def spec_of(self, uid: str) -> spec_pb2.JobSpec:
        """The job's spec. Raises NotFoundError."""
        with self._database.read() as connection:
            spec = connection.scalar(sa.select(specs.c.spec).where(specs.c.job_uid == uid))
        if spec is None:
            raise no_job_of(uid)
        return spec_pb2.JobSpec.FromString(spec)

    def count_jobs_by_state(self) -> Mapping[int, int]:
        """Every state with its number of jobs, zeros included."""
        every = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        counts = dict.fromkeys(NEXT_STATES, 0)
        with self._database.read() as connection:
            # Two reads of indexes alone; one that asked each job whether it is a tombstone would read every row.
            for sign, selection in ((1, every), (-1, every.where(jobs.c.deleted))):
                for state, count in connection.execute(selection):
                    counts[state] += sign * count
        return counts

    def queued_jobs(self, limit: int | None = None) -> list[QueuedJob]:
        """The jobs that may start as soon as they fit, in the order of the queue; at most `limit` of each demand."""
        found: list[QueuedJob] = []
        with self._database.read() as connection:
            for demand in connection.scalars(DEMANDS).all():
                wanted = {"demand": demand, "most": _EVERY if limit is None else limit}
                found += [_queued_job(row) for row in connection.execute(_OF_DEMAND, wanted)]
        return sorted(found, key=lambda job: (-job.priority, job.sequence))

    def live_attempts(self) -> list[AttemptRow]:
        """Every attempt that has not ended, that of the oldest job first."""
        with self._database.read() as connection:
            return [attempt_row(row) for row in connection.execute(_LIVE_ATTEMPTS)]

    def attempts_of(self, uid: str) -> list[AttemptRow]:
        """Every attempt of a job, oldest first, ended ones too. Empty for an unknown uid."""
        with self._database.read() as connection:
            return [attempt_row(row) for row in connection.execute(ATTEMPTS.where(attempts.c.job_uid == uid))]


_EVERY: Final = 2**31 - 1

# Made once; see `queries`.
_LIVE_ATTEMPTS = ATTEMPTS.where(ATTEMPT_IS_LIVE)
_OF_DEMAND = by_index(
    sa.select(
        *(jobs.c.uid, jobs.c.project, jobs.c.job_id, jobs.c.gpus, jobs.c.cpu_replicas, jobs.c.priority, jobs.c.sequence)
    )
    .where(sa.text(IS_READY), jobs.c.demand == sa.bindparam("demand"))
    .order_by(jobs.c.priority.desc(), jobs.c.sequence)
    .limit(sa.bindparam("most", type_=sa.Integer)),
    "jobs_ready",
)
_NEWEST_EVENT = sa.select(jobs.c.event_number).where(jobs.c.uid == sa.bindparam("uid"), ~jobs.c.deleted)
_EVENTS_AFTER = (
    sa.select(events)
    .where(events.c.job_uid == sa.bindparam("uid"), events.c.number > sa.bindparam("number"))
    .order_by(events.c.number)
    .limit(sa.bindparam("most"))
)


def _queued_job(row: sa.Row[Any]) -> QueuedJob:
    name = JobName(row.project, row.job_id)
    return QueuedJob(row.uid, name, row.gpus, row.cpu_replicas, row.priority, row.sequence)


def _page(
    connection: sa.Connection,
    selection: sa.Select[Any],
    page_size: int,
    message: Callable[[sa.Row[Any]], M],
    token: Callable[[sa.Row[Any]], str],
    most_bytes: int = sys.maxsize,
    options: Mapping[str, Any] | None = None,
) -> tuple[list[M], str]:
    """The first rows of a selection, and a token when more follow: to know, it asks for one row too many."""
    size = paging.effective_page_size(page_size)
    page: list[M] = []
    room, last = most_bytes, None
    # Read one by one, so that large rows behind the end of the page take no memory.
    with connection.execute(selection.limit(size + 1), execution_options=options) as rows:
        for row in rows:
            told = message(row)
            room -= told.ByteSize()
            if last is not None and (len(page) == size or room < 0):
                return page, token(last)
            page.append(told)
            last = row
    return page, ""
