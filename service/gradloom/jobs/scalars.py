"""Scalars by step on record: each step of a job once, numbered in the order in which they were recorded."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from gradloom.errors import CursorExpiredError, FieldFault
from gradloom.job import TERMINAL_STATES
from gradloom.jobs.database import Database
from gradloom.jobs.messages import point_message
from gradloom.jobs.queries import no_job_of
from gradloom.jobs.records import ScalarsPage
from gradloom.jobs.schema import jobs, scalars
from gradloom.v1 import job_pb2

MOST_POINTS: Final = 1000
"""Of a page."""
MOST_PAGE_BYTES: Final = 1 << 20
"""Of a page's scalars as they are stored; one point always fits."""
MOST_REPORTED_POINTS: Final = 5000
"""In one report of a trainer, which sends fewer."""


class Scalars:
    """The store's part that tells scalars by step; trainers' reports add them."""

    _database: Database

    def scalars_after(self, uid: str, number: int, names: Collection[str] = ()) -> ScalarsPage:
        """The points that follow point `number`, in order, as many as a page takes.

        With `names` those scalars alone, and no point that has none of them. Raises NotFoundError, and
        CursorExpiredError for a number that the job has not come to.
        """
        newest = sa.select(sa.func.max(scalars.c.number)).where(scalars.c.job_uid == jobs.c.uid).scalar_subquery()
        selection = sa.select(jobs.c.state, sa.func.coalesce(newest, 0).label("newest"))
        with self._database.read() as connection:
            job = connection.execute(selection.where(jobs.c.uid == uid, ~jobs.c.deleted)).one_or_none()
            if job is None:
                raise no_job_of(uid)
            if number > job.newest:
                raise CursorExpiredError(f"the job has {job.newest} points so far; the cursor is after point {number}")
            rows = _rows_of_a_page(connection, uid, number)
        reached = rows[-1].number if rows else number
        points = [point for row in rows if (point := point_message(row, names)).scalars or not names]
        return ScalarsPage(points, reached, reached < job.newest, job.state in TERMINAL_STATES)

    def first_scalars(self, uid: str) -> job_pb2.ScalarsPoint | None:
        """The first point, which tells how scalars are named; None before there is one."""
        with self._database.read() as connection:
            selection = sa.select(scalars).where(scalars.c.job_uid == uid, scalars.c.number == 1)
            row = connection.execute(selection).one_or_none()
        return None if row is None else point_message(row)


def add_points(
    connection: sa.Connection, uid: str, attempt: int, points: Sequence[job_pb2.ScalarsPoint], now: datetime
) -> None:
    """Records what an attempt tells, but for steps that are on record: what is done again gives the same again."""
    known = _on_record(connection, uid, points)
    number = connection.scalar(sa.select(sa.func.max(scalars.c.number)).where(scalars.c.job_uid == uid)) or 0
    rows = []
    for point in points:
        if (step := (point.global_step, point.epoch_end)) in known:
            continue
        known.add(step)
        number += 1
        rows.append(
            {
                "job_uid": uid,
                "number": number,
                "time": now,
                "attempt": attempt,
                "global_step": point.global_step,
                "epoch": point.epoch,
                "epoch_end": point.epoch_end,
                "scalars": json.dumps(dict(point.scalars)),
            }
        )
    if rows:
        connection.execute(scalars.insert(), rows)


def point_faults(points: Sequence[job_pb2.ScalarsPoint]) -> list[FieldFault]:
    """What of a report's points cannot be recorded."""
    if len(points) > MOST_REPORTED_POINTS:
        return [FieldFault("points", f"must be at most {MOST_REPORTED_POINTS}; got {len(points)}")]
    return [
        FieldFault(f"points[{index}].{name}", f"must be at least 1; got {getattr(point, name)}")
        for index, point in enumerate(points)
        for name in ("global_step", "epoch")
        if getattr(point, name) < 1
    ]


def _on_record(connection: sa.Connection, uid: str, points: Sequence[job_pb2.ScalarsPoint]) -> set[tuple[int, bool]]:
    """Which of the points' steps are; of a training that goes straight on it takes one look into an index to know."""
    of_job = scalars.c.job_uid == uid
    furthest = connection.scalar(sa.select(sa.func.max(scalars.c.global_step)).where(of_job)) or 0
    steps = [point.global_step for point in points if point.global_step <= furthest]
    if not steps:
        return set()
    selection = sa.select(scalars.c.global_step, scalars.c.epoch_end)
    return {(step, end) for step, end in connection.execute(selection.where(of_job, scalars.c.global_step.in_(steps)))}


def _rows_of_a_page(connection: sa.Connection, uid: str, number: int) -> list[sa.Row[Any]]:
    selection = (
        sa.select(scalars)
        .where(scalars.c.job_uid == uid, scalars.c.number > number)
        .order_by(scalars.c.number)
        .limit(MOST_POINTS)
    )
    rows: list[sa.Row[Any]] = []
    size = 0
    for row in connection.execute(selection):
        size += len(row.scalars)
        if rows and size > MOST_PAGE_BYTES:
            break
        rows.append(row)
    return rows
