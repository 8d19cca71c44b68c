"""WatchJob: a job's present state, then what happens to it, with a cursor to go on from."""

import re
from collections.abc import AsyncGenerator
from typing import Final

from gradloom.api.convert import job_name, refused
from gradloom.api.offload import Offload
from gradloom.errors import CursorExpiredError
from gradloom.faults import shown
from gradloom.job import TERMINAL_STATES
from gradloom.jobs.records import JobSnapshot
from gradloom.jobs.store import Store
from gradloom.v1 import service_pb2

EVENTS_AT_ONCE: Final = 100
"""A reader that is far behind costs no more memory than so many events."""
LOOK_SECONDS: Final = 15.0
"""The store is read at least so often, should a wake be lost."""


async def watch_job(
    store: Store, offload: Offload, request: service_pb2.WatchJobRequest
) -> AsyncGenerator[service_pb2.WatchJobResponse, None]:
    """Yields the job now, every event after the cursor, from the first on or from now on, and ends with the job.

    Events come in order, and between them the newest progress.

    What is yielded waits for the reader; progress meanwhile is replaced, not queued.
    """
    if request.from_start and request.cursor:
        raise refused("from_start", "must not come with a cursor, which says from where; got both")
    uid = (await offload.read(store.snapshot, job_name(request.name))).uid
    with store.hub.watch(uid) as watcher:
        snapshot = await offload.read(store.snapshot_by_uid, uid)
        number = _first_seen(request, snapshot)
        yield service_pb2.WatchJobResponse(job=snapshot.job, cursor=_cursor(uid, number))
        while True:
            while snapshot.event_number > number:
                for event in await offload.read(store.events_after, uid, number, EVENTS_AT_ONCE):
                    number = event.number
                    yield service_pb2.WatchJobResponse(job=snapshot.job, event=event, cursor=_cursor(uid, number))
            if snapshot.job.state in TERMINAL_STATES:
                return
            await watcher.wait(LOOK_SECONDS)
            sent, snapshot = snapshot, await offload.read(store.snapshot_by_uid, uid)
            if snapshot.event_number <= number and snapshot.job != sent.job:
                yield service_pb2.WatchJobResponse(job=snapshot.job, cursor=_cursor(uid, number))


def _cursor(uid: str, number: int) -> str:
    return f"{uid.replace('-', '')}.{number}"


def _first_seen(request: service_pb2.WatchJobRequest, snapshot: JobSnapshot) -> int:
    """The number of the event after which those come that the watcher wants."""
    if request.from_start:
        return 0
    return _after(request.cursor, snapshot) if request.cursor else snapshot.event_number


def _after(cursor: str, snapshot: JobSnapshot) -> int:
    """The event number of a cursor of this job."""
    match = re.fullmatch(r"([0-9a-f]{1,64})\.([0-9]{1,18})", cursor, re.ASCII)
    if not match:
        raise refused("cursor", f"must be the cursor of a message of this stream; got {shown(cursor)}")
    if match[1] != snapshot.uid.replace("-", ""):
        raise CursorExpiredError(f"the cursor is another job's, perhaps of one that had this name; got {shown(cursor)}")
    if int(match[2]) > snapshot.event_number:
        raise CursorExpiredError(
            f"the job has {snapshot.event_number} events so far; the cursor is after event {match[2]}"
        )
    return int(match[2])
