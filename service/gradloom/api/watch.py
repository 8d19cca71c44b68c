"""WatchJob: a job's present state, then what happens to it, with a cursor to go on from."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from gradloom.api.convert import job_name
from gradloom.api.looks import Looks
from gradloom.api.offload import Offload
from gradloom.errors import CursorExpiredError, ServerUnavailableError, refusal
from gradloom.job import TERMINAL_STATES
from gradloom.jobs import cursors
from gradloom.jobs.records import JobSnapshot
from gradloom.jobs.store import Store
from gradloom.v1 import service_pb2

EVENTS_AT_ONCE: Final = 100
"""A reader that is far behind costs no more memory than so many events."""
LOOK_SECONDS: Final = 15.0
"""The store is read at least so often, should a wake be lost."""


@dataclass(frozen=True)
class _Look:
    """What those are told who have seen the events up to one number; shared, so never changed."""

    snapshot: JobSnapshot
    now: service_pb2.WatchJobResponse
    """The job alone."""
    events: tuple[service_pb2.WatchJobResponse, ...]
    """The events that follow, at most EVENTS_AT_ONCE."""


def _look(store: Store, uid: str, number: int) -> _Look:
    snapshot = store.look(uid, number, EVENTS_AT_ONCE)
    told = (
        service_pb2.WatchJobResponse(job=snapshot.job, event=event, cursor=_cursor(uid, event.number))
        for event in snapshot.events
    )
    now = service_pb2.WatchJobResponse(job=snapshot.job, cursor=_cursor(uid, number))
    return _Look(snapshot, now, tuple(told))


async def watch_job(
    store: Store,
    offload: Offload,
    looks: Looks,
    request: service_pb2.WatchJobRequest,
    is_draining: Callable[[], bool],
) -> AsyncGenerator[service_pb2.WatchJobResponse, None]:
    """Yields the job now, every event after the cursor, from the first on or from now on, and ends with the job.

    Events come in order, and between them the newest progress. What is yielded waits for the reader; progress meanwhile
    is replaced, not queued. Raises ServerUnavailableError when the server drains, of which `hub.wake_all` tells; the
    cursors stay good.
    """
    if request.from_start and request.cursor:
        raise refusal("from_start", "must not come with a cursor, which says from where; got both")
    snapshot = await offload.read(store.snapshot, job_name(request.name))
    uid = snapshot.uid
    with looks.watch(uid) as watcher:
        if not request.from_start and not request.cursor:
            snapshot = await offload.read(store.snapshot_by_uid, uid)
        number = _first_seen(request, snapshot)
        look = await looks.look(watcher, uid, number, partial(_look, store, uid, number))
        yield look.now
        told = look.snapshot.job
        while True:
            for message in look.events:
                number = message.event.number
                yield message
            if not look.events and look.snapshot.job is not told and look.snapshot.job != told:
                yield look.now
            told = look.snapshot.job
            timed_out = False
            if number == look.snapshot.event_number:
                if told.state in TERMINAL_STATES:
                    return
                timed_out = not await watcher.wait(LOOK_SECONDS)
            if is_draining():
                raise ServerUnavailableError("the server is stopping; go on from the last cursor")
            look = await looks.look(watcher, uid, number, partial(_look, store, uid, number), anew=timed_out)


def _cursor(uid: str, number: int) -> str:
    return cursors.write(uid, str(number))


def _first_seen(request: service_pb2.WatchJobRequest, snapshot: JobSnapshot) -> int:
    """The number of the event after which those come that the watcher wants."""
    if request.from_start:
        return 0
    return _after(request.cursor, snapshot) if request.cursor else snapshot.event_number


def _after(cursor: str, snapshot: JobSnapshot) -> int:
    """The event number of a cursor of this job."""
    (number,) = cursors.read(cursor, snapshot.uid, r"([0-9]{1,18})")
    if number > snapshot.event_number:
        raise CursorExpiredError(
            f"the job has {snapshot.event_number} events so far; the cursor is after event {number}"
        )
    return number
