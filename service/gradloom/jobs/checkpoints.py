"""Checkpoints on record: what a later attempt goes on from, what other jobs start with, and how long they are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import InvalidRequestError, WrongStateError, refusal
from gradloom.faults import shown
from gradloom.job import DEFAULT_KEPT_CHECKPOINTS, JobName, state_name
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.manifest import checkpoint_faults, checkpoint_id
from gradloom.jobs.messages import stored_checkpoint
from gradloom.jobs.places import next_checkpoint
from gradloom.jobs.queries import CHECKPOINTS, NEEDED_CHECKPOINTS, attempt_is, named
from gradloom.jobs.records import CheckpointOutcome, StoredCheckpoint
from gradloom.jobs.report_writes import asked_again, is_stopping, live
from gradloom.jobs.schema import attempts, checkpoints, initial_weights, jobs, specs
from gradloom.v1 import job_pb2, spec_pb2

INITIAL_WEIGHTS_FIELD: Final = "spec.model.initial_weights.job"
_ENDED = attempts.c.state == job_pb2.Attempt.ENDED


class Checkpoints:
    """The store's part that keeps checkpoints."""

    _database: Database
    hub: Hub

    def record_checkpoint(
        self, uid: str, number: int, checkpoint: attempt_pb2.Checkpoint, now: datetime
    ) -> CheckpointOutcome:
        """Puts a checkpoint of a live attempt on record, and takes those off it that are no longer to be kept.

        Kept are the newest ones (`training.checkpoint.keep` of the spec), the newest final one, the best as of each of
        these, and what a job that has not ended starts with. A repeat with the same content is fine; it can only add
        `best` and `final`. Raises AttemptSupersededError, InvalidRequestError for a path that leads astray and the
        like, WrongStateError for other content under a path, and for one that is older than the attempt's newest.
        """
        faults = checkpoint_faults(checkpoint)
        if faults:
            raise InvalidRequestError(faults)
        with asked_again(), self._database.write() as connection:
            attempt = live(connection, uid, number)
            if not is_stopping(attempt):
                self._database.need_room()
            stored = checkpoint_rows(connection, uid)
            same = next((row for row in stored if (row.attempt, row.path) == (number, checkpoint.path)), None)
            if same is None:
                _insert(connection, attempt, checkpoint, stored, now)
            elif not _is_repeat(same, checkpoint):
                name = JobName(attempt.project, attempt.job_id).attempt(number)
                raise WrongStateError(name, f"{name} has other content on record under {checkpoint.path}")
            _mark(connection, uid, number, checkpoint)
            dropped = _drop_superfluous(connection, uid)
        self.hub.publish(uid)
        return CheckpointOutcome(same is not None, tuple(stored_checkpoint(row).file for row in dropped))

    def checkpoints_of(self, uid: str) -> list[StoredCheckpoint]:
        """The job's checkpoints, newest first. Empty for an unknown uid."""
        with self._database.read() as connection:
            return [stored_checkpoint(row) for row in checkpoint_rows(connection, uid)]

    def step_to_go_on_from(self, uid: str) -> int:
        """The step of the checkpoint that the job's next attempt tries first; 0 when there is none."""
        with self._database.read() as connection:
            checkpoint = next_checkpoint(connection, uid)
        return 0 if checkpoint is None else int(checkpoint.global_step)

    def find_initial_weights(self, reference: str, project: str) -> StoredCheckpoint:
        """What a job of the project would start with that names another one in `model.initial_weights.job`.

        Raises InvalidRequestError on that field when there is no such job, or it has no checkpoint.
        """
        with self._database.read() as connection:
            return stored_checkpoint(_source(connection, reference, project))

    def initial_weights_of(self, uid: str) -> StoredCheckpoint | None:
        """The checkpoint of another job that the job starts with; None when its spec names none."""
        chosen = (
            (checkpoints.c.job_uid == initial_weights.c.source_uid)
            & (checkpoints.c.attempt == initial_weights.c.attempt)
            & (checkpoints.c.path == initial_weights.c.path)
        )
        selection = CHECKPOINTS.join(initial_weights, chosen).where(initial_weights.c.job_uid == uid)
        with self._database.read() as connection:
            row = connection.execute(selection).one_or_none()
        return None if row is None else stored_checkpoint(row)

    def unswept_jobs(self) -> list[str]:
        """The uids of jobs with an ended attempt after which files without a record may still lie about."""
        selection = sa.select(attempts.c.job_uid).distinct().where(_ENDED, ~attempts.c.swept)
        with self._database.read() as connection:
            return list(connection.scalars(selection))

    def mark_swept(self, uid: str) -> None:
        """Notes that the ended attempts of the job have no checkpoints beside those on record."""
        with self._database.write(durable=False) as connection:
            connection.execute(attempts.update().where(attempts.c.job_uid == uid, _ENDED).values(swept=True))


def choose_initial_weights(connection: sa.Connection, uid: str, project: str, spec: spec_pb2.JobSpec) -> None:
    """Holds on to what a new job starts with, for as long as it has not ended; nothing when its spec names no job.

    Raises InvalidRequestError as `find_initial_weights` does.
    """
    if spec.model.HasField("initial_weights"):
        source = _source(connection, spec.model.initial_weights.job, project)
        row = {"job_uid": uid, "source_uid": source.job_uid, "attempt": source.attempt, "path": source.path}
        connection.execute(initial_weights.insert(), row)


def _source(connection: sa.Connection, reference: str, project: str) -> sa.Row[Any]:
    try:
        name = JobName.parse_reference(reference, project)
    except ValueError:
        told = f"must be the id of a job, or projects/{{project}}/jobs/{{job_id}}; got {shown(reference)}"
        raise refusal(INITIAL_WEIGHTS_FIELD, told) from None
    job = connection.execute(sa.select(jobs.c.uid, jobs.c.state).where(named(name))).one_or_none()
    if job is None:
        told = f"must be a job that exists; got {shown(reference)}"
        raise refusal(INITIAL_WEIGHTS_FIELD, told)
    newest = connection.execute(CHECKPOINTS.where(checkpoints.c.job_uid == job.uid).limit(1)).one_or_none()
    if newest is None:
        told = f"must have a checkpoint; {name} is {state_name(job.state)} and has none"
        raise refusal(INITIAL_WEIGHTS_FIELD, told)
    return newest


def checkpoint_rows(connection: sa.Connection, uid: str) -> Sequence[sa.Row[Any]]:
    """Rows of CHECKPOINTS of one job, newest first."""
    return connection.execute(CHECKPOINTS.where(checkpoints.c.job_uid == uid)).all()


def checkpoint_is(uid: str, number: int, path: str) -> sa.ColumnElement[bool]:
    """Selects one checkpoint of one job."""
    return (checkpoints.c.job_uid == uid) & (checkpoints.c.attempt == number) & (checkpoints.c.path == path)


def _is_repeat(row: sa.Row[Any], checkpoint: attempt_pb2.Checkpoint) -> bool:
    fields = ("global_step", "epoch", "size_bytes", "sha256")
    return all(getattr(row, name) == getattr(checkpoint, name) for name in fields)


def _insert(
    connection: sa.Connection,
    attempt: sa.Row[Any],
    checkpoint: attempt_pb2.Checkpoint,
    stored: Sequence[sa.Row[Any]],
    now: datetime,
) -> None:
    """Adds a row, and notes it in the attempt's, also when it goes beyond what every earlier attempt saved."""
    uid, number = attempt.job_uid, attempt.number
    own = max((row.global_step for row in stored if row.attempt == number), default=0)
    if checkpoint.global_step < own:
        # One that was dropped comes again, and its file is gone.
        told = f"attempt {number} has one of update {own} on record; {checkpoint.path} is of {checkpoint.global_step}"
        raise WrongStateError(checkpoint.path, told)
    connection.execute(
        checkpoints.insert().values(
            job_uid=uid,
            attempt=number,
            path=checkpoint.path,
            global_step=checkpoint.global_step,
            epoch=checkpoint.epoch,
            size_bytes=checkpoint.size_bytes,
            sha256=checkpoint.sha256,
            best=False,
            final=False,
            time=now,
        )
    )
    name = JobName(attempt.project, attempt.job_id).checkpoint(checkpoint_id(number, checkpoint.path))
    changes: dict[str, Any] = {"checkpoint_out": name}
    if all(row.global_step < checkpoint.global_step for row in stored if row.attempt < number):
        changes["advanced"] = True
    connection.execute(attempts.update().where(attempt_is(uid, number)).values(**changes))


def _mark(connection: sa.Connection, uid: str, number: int, checkpoint: attempt_pb2.Checkpoint) -> None:
    """Adds what it is said to be."""
    marks = {name: True for name in ("best", "final") if getattr(checkpoint, name)}
    if marks:
        this = checkpoint_is(uid, number, checkpoint.path)
        connection.execute(checkpoints.update().where(this).values(**marks))


def _drop_superfluous(connection: sa.Connection, uid: str) -> list[sa.Row[Any]]:
    """Takes off the record what is not to be kept, and returns it."""
    spec = spec_pb2.JobSpec.FromString(connection.scalar(sa.select(specs.c.spec).where(specs.c.job_uid == uid)) or b"")
    needed = connection.execute(sa.select(NEEDED_CHECKPOINTS).where(NEEDED_CHECKPOINTS.c.source_uid == uid))
    kept = {(row.attempt, row.path) for row in needed}
    stored = checkpoint_rows(connection, uid)
    for row in newest_kept(stored, spec):
        kept |= {(one.attempt, one.path) for one in (row, best_as_of(row, stored)) if one is not None}
    dropped = [row for row in stored if (row.attempt, row.path) not in kept]
    for row in dropped:
        connection.execute(checkpoints.delete().where(checkpoint_is(uid, row.attempt, row.path)))
    return dropped


def newest_kept(stored: Sequence[sa.Row[Any]], spec: spec_pb2.JobSpec) -> list[sa.Row[Any]]:
    """Of a job's checkpoints, newest first, those that training.checkpoint.keep keeps, and the newest final one."""
    wanted = spec.training.checkpoint
    keep = wanted.keep if wanted.HasField("keep") else DEFAULT_KEPT_CHECKPOINTS
    return [*stored[:keep], *[row for row in stored if row.final][:1]]


def best_as_of(row: sa.Row[Any], stored: Sequence[sa.Row[Any]]) -> sa.Row[Any] | None:
    """The best checkpoint when `row` was saved, if any; whoever goes on from `row` may need it at the end.

    An attempt that went back further than the newest best one, because that was damaged, needs the one before.
    """
    earlier = stored[stored.index(row) :]
    return next((other for other in earlier if other.best and other.global_step <= row.global_step), None)
