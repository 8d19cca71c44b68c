"""StreamMetrics: a job's scalars by step, in the order in which they were recorded, with a cursor to go on from."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Final

from gradloom.api.convert import job_name
from gradloom.api.looks import Looks
from gradloom.api.offload import Offload
from gradloom.errors import FieldFault, InvalidRequestError, refusal
from gradloom.faults import did_you_mean, shown
from gradloom.jobs import cursors
from gradloom.jobs.store import Store
from gradloom.spec.scalars import Monitors
from gradloom.v1 import service_pb2

LOOK_SECONDS: Final = 15.0
"""The store is read at least so often, should a wake be lost."""
MOST_NAMES: Final = 100
MOST_NAMES_TOLD: Final = 20


async def stream_metrics(
    store: Store, offload: Offload, looks: Looks, request: service_pb2.StreamMetricsRequest
) -> AsyncGenerator[service_pb2.StreamMetricsResponse, None]:
    """Yields the points after the cursor, a page at a time; with `follow` until the job has ended.

    The next page is read when the reader has taken the one before, so that a slow one costs one page of memory. A name
    that is none of the job's scalars is refused as soon as that can be known: at once, or with the first point. Those
    who have come to the end share what follows.
    """
    name = job_name(request.name)
    if len(request.scalars) > MOST_NAMES:
        raise refusal("scalars", f"must be at most {MOST_NAMES}; got {len(request.scalars)}")
    uid = (await offload.read(store.snapshot, name)).uid
    number = _after(request.cursor, uid) if request.cursor else 0
    wanted = _Names(store, uid, request.scalars)
    with looks.watch(uid) as watcher:
        page = await offload.read(store.scalars_after, uid, number, wanted.names)
        while True:
            # After the page: a point that it holds tells what can be told.
            if not wanted.checked:
                await offload.read(wanted.check)
            number = page.number
            if page.points:
                yield service_pb2.StreamMetricsResponse(points=page.points, cursor=_cursor(uid, number))
            read = partial(store.scalars_after, uid, number, wanted.names)
            if page.more:
                page = await offload.read(read)
            elif page.ended or not request.follow:
                return
            else:
                timed_out = not await watcher.wait(LOOK_SECONDS)
                page = await looks.look(watcher, uid, (number, wanted.names), read, anew=timed_out)


class _Names:
    """The scalars that a reader asks for by name.

    Attributes:
        names: Each once.
        checked: Whether all of them are known to be scalars of the job, be they recorded already or not.
    """

    def __init__(self, store: Store, uid: str, given: Sequence[str]):
        self.names = tuple(dict.fromkeys(given))
        self.checked = not given
        self._store = store
        self._uid = uid
        self._given = list(given)
        self._monitors: Monitors | None = None

    def check(self) -> None:
        """Refuses names of no scalar, once it can be told."""
        if self._monitors is None:
            self._monitors = Monitors.of(self._store.snapshot_by_uid(self._uid, service_pb2.JobView.FULL).job.spec)
        known = self._monitors.names if self._monitors.are_all else self._recorded(self._monitors.has_validation)
        if known is None:
            return
        faults = [
            FieldFault(f"scalars[{self._given.index(name)}]", _told(name, known))
            for name in self.names
            if name not in known
        ]
        if faults:
            raise InvalidRequestError(faults)
        self.checked = True

    def _recorded(self, has_validation: bool) -> Sequence[str] | None:
        """As the first point tells: only within an epoch it lacks those of the validation."""
        first = self._store.first_scalars(self._uid)
        if first is None:
            return None
        names = sorted(first.scalars)
        return names + [f"val_{name}" for name in names] if has_validation and not first.epoch_end else names


def _told(name: str, known: Sequence[str]) -> str:
    if name.startswith("test_"):
        return (
            f"is recorded at no step: test data are evaluated once, for the job's progress.scalars; got {shown(name)}"
        )
    listed = ", ".join(known[:MOST_NAMES_TOLD]) + (", ..." if len(known) > MOST_NAMES_TOLD else "")
    return f"must be one of {listed}; got {shown(name)}{did_you_mean(name, known)}"


def _cursor(uid: str, number: int) -> str:
    return cursors.write(uid, f"s{number}")


def _after(cursor: str, uid: str) -> int:
    """The number of the point that a cursor of this job is after."""
    (number,) = cursors.read(cursor, uid, r"s([0-9]{1,18})")
    return number
