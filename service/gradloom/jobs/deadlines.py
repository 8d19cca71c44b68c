"""Ends what has lasted long enough: backoffs, waits for a first attempt, and attempts that hold devices."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from google.protobuf.duration_pb2 import Duration

from gradloom.jobs.countdown import Countdown
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.limit_writes import Limit
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.spec.limits import seconds_of
from gradloom.v1 import job_pb2

Job = job_pb2.Job

LOOK_SECONDS: Final = 0.5
"""A limit is seen to be over so much late at most, beside what a tick takes."""
TIMES_BETWEEN: Final = 50
"""But the looks at ten thousand limits take a fiftieth of the time at most."""


class Deadlines:
    """The limits of every job of one store; `clock` is monotonic."""

    def __init__(self, store: Store, instruments: Instruments, clock: Callable[[], float]):
        self._store = store
        self._instruments = instruments
        self._clock = clock
        self._next_look = clock()
        self.backoffs = Countdown(partial(store.count_down, Limit.BACKOFF), clock)
        self.waits = Countdown(partial(store.count_down, Limit.QUEUE), clock)
        self.runs = Countdown(partial(store.count_down, Limit.RUN), clock)

    def look(self, live: Sequence[AttemptRow], now: datetime) -> None:
        """Counts, and ends what is over; does nothing when the look before was only just now."""
        started = self._clock()
        if started < self._next_look:
            return
        over = self.backoffs.look(self._store.backoffs())
        if over:
            self._store.end_backoffs(over)
            self.backoffs.forget(over)
        for uid in self.waits.look(self._store.queue_seconds_left()):
            self._fail(uid, now)
        holding = {attempt.uid: attempt for attempt in live if not attempt.devices_released}
        limited = {uid: row.run_seconds_left for uid, row in holding.items() if row.run_seconds_left is not None}
        for uid in self.runs.look(limited):
            self._stop(holding[uid])
        took = self._clock() - started
        self._next_look = started + max(LOOK_SECONDS, took * TIMES_BETWEEN)

    def settle(self) -> None:
        """Stores what was counted so far; before the end of the server."""
        for countdown in (self.backoffs, self.waits, self.runs):
            countdown.settle()

    def _fail(self, uid: str, now: datetime) -> None:
        limit = self._store.spec_of(uid).scheduling.max_queue_duration
        message = f"waited for devices for {_shown(limit)}, its spec.scheduling.max_queue_duration"
        name = self._store.fail_waiting(uid, Job.QUEUE_DEADLINE_EXCEEDED, message, now)
        if name is not None:
            self._instruments.job_finished(name, Job.FAILED, Job.QUEUE_DEADLINE_EXCEEDED)

    def _stop(self, attempt: AttemptRow) -> None:
        if not attempt.stopping_reason:
            limit = self._store.spec_of(attempt.uid).scheduling.max_run_duration
            message = f"held devices for {_shown(limit)}, its spec.scheduling.max_run_duration"
            self._store.mark_stopping(attempt.uid, attempt.number, Job.DEADLINE_EXCEEDED, message)


def _shown(limit: Duration) -> str:
    return f"{seconds_of(limit):g} s"
