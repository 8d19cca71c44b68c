"""Ends what has lasted long enough: backoffs, waits for a first attempt, and attempts that hold devices."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from google.protobuf.duration_pb2 import Duration

from gradloom.errors import NotFoundError
from gradloom.jobs.countdown import Countdown
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.limit_writes import Limit
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.jobs.trouble import TroubleLog
from gradloom.spec.limits import seconds_of
from gradloom.v1 import job_pb2

Job = job_pb2.Job
logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""A limit is seen to be over so much late at most, beside what a tick takes."""
TIMES_BETWEEN: Final = 50
"""But the looks at ten thousand limits take a fiftieth of the time at most."""
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Whatever a look took, such as one that waited for the disk."""
MOST_ENDED: Final = 20
"""So many backoffs and waits at most end in one look, so that a tick stays short: the next look ends the next ones."""


class Deadlines:
    """The limits of every job of one store; `clock` is monotonic."""

    def __init__(self, store: Store, instruments: Instruments, clock: Callable[[], float]):
        self._store = store
        self._instruments = instruments
        self._clock = clock
        self._trouble = TroubleLog(logger, clock)
        self._next_look = clock()
        self.backoffs = Countdown(partial(store.count_down, Limit.BACKOFF), clock)
        self.waits = Countdown(partial(store.count_down, Limit.QUEUE), clock)
        self.runs = Countdown(partial(store.count_down, Limit.RUN), clock)

    def look(self, live: Sequence[AttemptRow], now: datetime) -> None:
        """Counts, and ends what is over; does nothing when the look before was only just now.

        Trouble with one kind of limit, or with one attempt, keeps nobody else from being looked at.
        """
        started = self._clock()
        if started < self._next_look:
            return
        late: list[str] = []
        with self._trouble.kept_from_others("Backoffs could not be ended"):
            self._end_backoffs()
        with self._trouble.kept_from_others("Limits of waiting jobs could not be counted"):
            late = self.waits.look(self._store.queue_seconds_left())
        with self._trouble.kept_from_others("Limits of running jobs could not be counted"):
            self._stop_late(live)
        pause = max(LOOK_SECONDS, (self._clock() - started) * TIMES_BETWEEN)
        self._next_look = started + min(pause, LONGEST_PAUSE_SECONDS)
        with self._trouble.kept_from_others("Jobs that waited too long could not be ended"):
            self._fail(late[:MOST_ENDED], now)

    def settle(self) -> None:
        """Stores what was counted so far; before the end of the server."""
        for countdown in (self.backoffs, self.waits, self.runs):
            with self._trouble.kept_from_others("What is left of the jobs' limits could not be stored"):
                countdown.settle()

    def _end_backoffs(self) -> None:
        over = self.backoffs.look(self._store.backoffs())[:MOST_ENDED]
        if over:
            self._store.end_backoffs(over)
            self.backoffs.forget(over)

    def _fail(self, uids: Sequence[str], now: datetime) -> None:
        """Fails jobs that waited too long, in one transaction: they wait for the disk once."""
        if not uids:
            return
        with self._store.together():
            failed = [uid for uid in uids if self._has_failed(uid, now)]
        for uid in failed:
            self._instruments.job_finished(uid, Job.FAILED, Job.QUEUE_DEADLINE_EXCEEDED)

    def _has_failed(self, uid: str, now: datetime) -> bool:
        """Fails one job; False when it waits no more, or was deleted and forgotten since it was looked at."""
        try:
            limit = self._store.spec_of(uid).scheduling.max_queue_duration
        except NotFoundError:
            return False
        message = f"waited for devices for {_shown(limit)}, its spec.scheduling.max_queue_duration"
        return self._store.fail_waiting(uid, Job.QUEUE_DEADLINE_EXCEEDED, message, now)

    def _stop_late(self, live: Sequence[AttemptRow]) -> None:
        holding = {attempt.uid: attempt for attempt in live if not attempt.devices_released}
        limited = {uid: row.run_seconds_left for uid, row in holding.items() if row.run_seconds_left is not None}
        for uid in self.runs.look(limited):
            with self._trouble.kept_from_others(f"{holding[uid].full_name} could not be stopped"):
                self._stop(holding[uid])

    def _stop(self, attempt: AttemptRow) -> None:
        if not attempt.stopping_reason:
            limit = self._store.spec_of(attempt.uid).scheduling.max_run_duration
            message = f"held devices for {_shown(limit)}, its spec.scheduling.max_run_duration"
            self._store.mark_stopping(attempt.uid, attempt.number, Job.DEADLINE_EXCEEDED, message)


def _shown(limit: Duration) -> str:
    return f"{seconds_of(limit):g} s"
