"""Where the next attempt of a job goes on, for those who ask how far a job is that waits."""

from typing import Any

import sqlalchemy as sa

from gradloom.jobs.queries import NEWEST_CHECKPOINT_FIRST
from gradloom.jobs.records import RetrySource
from gradloom.jobs.schema import checkpoints, jobs, retry_sources
from gradloom.v1 import job_pb2, spec_pb2


def place_after(connection: sa.Connection, uid: str, seen: bytes | None) -> bytes:
    """`jobs.place` of a job whose attempt has ended, after the Progress that was `seen` of that, if any was.

    It goes on from its newest checkpoint, or from the one that it was retried from, else from the beginning.
    """
    place = job_pb2.Progress.FromString(connection.scalar(sa.select(jobs.c.place).where(jobs.c.uid == uid)) or b"")
    look = job_pb2.Progress.FromString(seen or b"")
    for field in ("epochs", "total_steps"):
        if look.HasField(field):
            setattr(place, field, getattr(look, field))
    checkpoint = next_checkpoint(connection, uid)
    place.epoch, place.global_step = (checkpoint.epoch, checkpoint.global_step) if checkpoint is not None else (0, 0)
    return place.SerializeToString()


def first_place(source: RetrySource, spec: spec_pb2.JobSpec) -> bytes:
    """`jobs.place` of a new job that goes on from a checkpoint of another one; its steps are not counted yet."""
    checkpoint = source.checkpoint.checkpoint
    place = job_pb2.Progress(epoch=checkpoint.epoch, global_step=checkpoint.global_step)
    if spec.training.HasField("epochs"):
        place.epochs = spec.training.epochs
    return place.SerializeToString()


def next_checkpoint(connection: sa.Connection, uid: str) -> sa.Row[Any] | None:
    """The checkpoint that the next attempt tries first."""
    selection: sa.Select[Any] = sa.select(checkpoints.c.epoch, checkpoints.c.global_step)
    own = connection.execute(
        selection.where(checkpoints.c.job_uid == uid).order_by(*NEWEST_CHECKPOINT_FIRST).limit(1)
    ).one_or_none()
    chosen = (
        (checkpoints.c.job_uid == retry_sources.c.source_uid)
        & (checkpoints.c.attempt == retry_sources.c.attempt)
        & (checkpoints.c.path == retry_sources.c.path)
    )
    source = connection.execute(
        selection.join(retry_sources, chosen).where(retry_sources.c.job_uid == uid)
    ).one_or_none()
    # An own one of an earlier step is a copy of the other job's best one, for the end: see trainer/course.py.
    return own if source is None or (own is not None and own.global_step >= source.global_step) else source
