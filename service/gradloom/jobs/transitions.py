"""The one way in which a job changes: a guarded UPDATE that raises its event number, and the event that tells of it."""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gradloom.job import NEXT_STATES, TERMINAL_STATES, TOMBSTONE
from gradloom.jobs.schema import events, jobs
from gradloom.v1 import job_pb2


def move_job(
    connection: sa.Connection,
    uid: str,
    to: int,
    now: datetime,
    *,
    came_from: Collection[int] = tuple(NEXT_STATES),
    reason: int = job_pb2.Job.REASON_UNSPECIFIED,
    message: str = "",
    **changes: Any,
) -> int | None:
    """Takes the job to a state if NEXT_STATES allows it from where it is (and it is in one of `came_from`).

    Returns the number of the newest attempt, to which the event belongs; None when the job is in no such state: then
    nothing changed.
    """
    allowed = [state for state, following in NEXT_STATES.items() if to in following and state in came_from]
    if to in TERMINAL_STATES:
        changes["end_time"] = now
    if to == job_pb2.Job.QUEUED:
        changes["queued_time"] = now
    row = connection.execute(
        jobs.update()
        .where(jobs.c.uid == uid, jobs.c.state.in_(allowed))
        .values(
            state=to,
            state_reason=reason,
            state_message=message,
            update_time=now,
            event_number=jobs.c.event_number + 1,
            **changes,
        )
        .returning(jobs.c.event_number, jobs.c.attempt_count)
    ).one_or_none()
    if row is None:
        return None
    connection.execute(
        events.insert().values(
            job_uid=uid,
            number=row.event_number,
            time=now,
            kind=job_pb2.Event.STATE_CHANGED,
            attempt=row.attempt_count,
            state=to,
            reason=reason,
            message=message,
        )
    )
    attempt_count: int = row.attempt_count
    return attempt_count


def bury(connection: sa.Connection, uid: str) -> None:
    """Makes the job a tombstone: nobody sees it any more, and its name is free from now on."""
    tombstone = sa.literal(TOMBSTONE) + jobs.c.uid
    connection.execute(jobs.update().where(jobs.c.uid == uid).values(deleted=True, job_id=tombstone))


def add_events(connection: sa.Connection, uid: str, attempt: int, added: list[job_pb2.Event], now: datetime) -> None:
    """Appends what an attempt tells beside its states: the ends of epochs, and notices."""
    newest = connection.execute(
        jobs.update()
        .where(jobs.c.uid == uid)
        .values(update_time=now, event_number=jobs.c.event_number + len(added))
        .returning(jobs.c.event_number)
    ).scalar_one()
    rows = [
        {
            "job_uid": uid,
            "number": number,
            "time": now,
            "kind": event.kind,
            "attempt": attempt,
            "state": job_pb2.Job.STATE_UNSPECIFIED,
            "reason": job_pb2.Job.REASON_UNSPECIFIED,
            "message": event.message,
            "epoch": event.epoch if event.HasField("epoch") else None,
            "scalars": json.dumps(dict(event.scalars)) if event.scalars else None,
        }
        for number, event in enumerate(added, start=newest - len(added) + 1)
    ]
    connection.execute(events.insert(), rows)
