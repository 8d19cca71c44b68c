"""The selections that several parts of the store share, and the one way to look up a job by its name."""

from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import NotFoundError
from gradloom.job import TERMINAL_STATES, JobName
from gradloom.jobs.messages import job_message
from gradloom.jobs.schema import IS_READY, attempts, checkpoints, initial_weights, jobs, retry_sources, specs
from gradloom.v1 import job_pb2, service_pb2

BASIC = service_pb2.JobView.BASIC
FULL = service_pb2.JobView.FULL

NEWEST_CHECKPOINT_FIRST = (
    checkpoints.c.attempt.desc(),
    checkpoints.c.global_step.desc(),
    checkpoints.c.final.desc(),
    checkpoints.c.path.desc(),
)
"""The order in which they were put on record, turned round: a later attempt goes on from one that it trusts."""

_CHECKPOINT_STEP = (
    sa.select(checkpoints.c.global_step)
    .where(checkpoints.c.job_uid == jobs.c.uid)
    .order_by(*NEWEST_CHECKPOINT_FIRST)
    .limit(1)
    .scalar_subquery()
    .label("checkpoint_step")
)

# A job with the progress of its newest attempt, and the update of its newest checkpoint.
JOBS = sa.select(jobs, attempts.c.progress, _CHECKPOINT_STEP).select_from(
    jobs.outerjoin(attempts, (attempts.c.job_uid == jobs.c.uid) & (attempts.c.number == jobs.c.attempt_count))
)
JOBS_WITH_SPECS = JOBS.add_columns(specs.c.spec, specs.c.resolved_spec).join(specs, specs.c.job_uid == jobs.c.uid)

# An attempt with what a decision about its job needs.
ATTEMPTS = (
    sa.select(
        attempts,
        jobs.c.project,
        jobs.c.job_id,
        jobs.c.state.label("job_state"),
        jobs.c.sequence,
        jobs.c.priority,
        jobs.c.preemptible,
        jobs.c.run_seconds_left,
        jobs.c.max_attempts,
        jobs.c.counted_attempts,
        jobs.c.uncounted_attempts,
    )
    .join(jobs, jobs.c.uid == attempts.c.job_uid)
    .order_by(jobs.c.sequence, attempts.c.number)
)

# A checkpoint with its job's name and what tells where its file lies; newest first.
CHECKPOINTS = (
    sa.select(checkpoints, attempts.c.artifact_root, jobs.c.project, jobs.c.job_id)
    .join(attempts, (attempts.c.job_uid == checkpoints.c.job_uid) & (attempts.c.number == checkpoints.c.attempt))
    .join(jobs, jobs.c.uid == checkpoints.c.job_uid)
    .order_by(*NEWEST_CHECKPOINT_FIRST)
)


# One by one: `<> ENDED` finds nothing by the index of states.
ATTEMPT_IS_LIVE = attempts.c.state.in_([job_pb2.Attempt.STARTING, job_pb2.Attempt.RUNNING, job_pb2.Attempt.STOPPING])
JOB_HAS_ENDED = jobs.c.state.in_(sorted(TERMINAL_STATES))

_USERS = jobs.alias("users")

# Checkpoints of a job (source_uid) that another one (job_uid), which has not ended, may still start from.
NEEDED_CHECKPOINTS = sa.union_all(
    *(
        sa.select(uses.c.job_uid, uses.c.source_uid, uses.c.attempt, uses.c.path)
        .join(_USERS, _USERS.c.uid == uses.c.job_uid)
        .where(_USERS.c.state.not_in(sorted(TERMINAL_STATES)))
        for uses in (initial_weights, retry_sources)
    )
).subquery("needed_checkpoints")


def with_view(view: int) -> sa.Select[Any]:
    """The selection that a view needs."""
    return JOBS_WITH_SPECS if view == FULL else JOBS


def job_in_view(row: sa.Row[Any], view: int) -> job_pb2.Job:
    """A Job of a row that `with_view(view)` selected."""
    job = job_message(row)
    if view == FULL:
        job.spec.MergeFromString(row.spec)
        if row.resolved_spec is not None:
            job.resolved_spec.MergeFromString(row.resolved_spec)
    return job


def job_by_name(connection: sa.Connection, name: JobName, view: int) -> sa.Row[Any] | None:
    """The job of that name, for `job_in_view`; None when there is none."""
    return connection.execute(_JOB_BY_NAME[view], _naming(name)).one_or_none()


def job_by_uid(connection: sa.Connection, uid: str, view: int) -> sa.Row[Any] | None:
    """The same by uid; of a tombstone, too."""
    return connection.execute(_JOB_BY_UID[view], {"uid": uid}).one_or_none()


def whole_job(connection: sa.Connection, uid: str) -> job_pb2.Job:
    """The job with its specs; it is there."""
    return job_in_view(connection.execute(_JOB_BY_UID[FULL], {"uid": uid}).one(), FULL)


def by_index(selection: sa.Select[Any], index: str) -> sa.Select[Any]:
    """Has jobs read by an index that holds few of them, where SQLite would rather search every job of a state."""
    return selection.with_hint(jobs, f"INDEXED BY {index}", "sqlite")


def _next_demand(*after: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    following = sa.select(jobs.c.demand).where(sa.text(IS_READY), *after).order_by(jobs.c.demand).limit(1)
    return by_index(following, "jobs_ready").scalar_subquery()


def _demands() -> sa.Select[Any]:
    """Goes from one demand to the next by one search of the index each, and reads none of the jobs between."""
    first = sa.select(_next_demand().label("demand")).cte("demands", recursive=True)
    found = first.union_all(sa.select(_next_demand(jobs.c.demand > first.c.demand)).where(first.c.demand.is_not(None)))
    return sa.select(found.c.demand).where(found.c.demand.is_not(None))


DEMANDS: Final = _demands()
"""The demands of the jobs that are ready, each once."""


def named(name: JobName) -> sa.ColumnElement[bool]:
    """Selects the job of that name; a tombstone has none."""
    return (jobs.c.project == name.project) & (jobs.c.job_id == name.job_id) & ~jobs.c.deleted


def uid_of(connection: sa.Connection, name: JobName) -> str:
    """The job's uid. Raises NotFoundError."""
    uid: str | None = connection.scalar(_UID_BY_NAME, _naming(name))
    if uid is None:
        raise no_job(name)
    return uid


def no_job(name: JobName) -> NotFoundError:
    """The error that says so."""
    return NotFoundError(f"there is no job {name}", str(name))


def no_job_of(uid: str) -> NotFoundError:
    """The error that says so."""
    return NotFoundError(f"there is no job of uid {uid}", f"projects/-/jobs/{uid}")


def _naming(name: JobName) -> dict[str, str]:
    return {"project": name.project, "job_id": name.job_id}


# Made once, because to make a statement costs several times as much as to run it.
_IS_NAMED = (jobs.c.project == sa.bindparam("project")) & (jobs.c.job_id == sa.bindparam("job_id")) & ~jobs.c.deleted
_JOB_BY_NAME: dict[int, sa.Select[Any]] = {view: with_view(view).where(_IS_NAMED) for view in (BASIC, FULL)}
_JOB_BY_UID: dict[int, sa.Select[Any]] = {
    view: with_view(view).where(jobs.c.uid == sa.bindparam("uid")) for view in (BASIC, FULL)
}
_UID_BY_NAME = sa.select(jobs.c.uid).where(_IS_NAMED)


def attempt_is(uid: str, number: int) -> sa.ColumnElement[bool]:
    """Selects one attempt of one job."""
    return (attempts.c.job_uid == uid) & (attempts.c.number == number)
