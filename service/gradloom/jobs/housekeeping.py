"""Keeps the house: removes deleted jobs, lets go of what ended jobs need not keep, sweeps, forgets old requests.

Whatever is half done when a server dies is on record as to be done, and the next server does it.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gradloom.errors import GradloomError
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.leavings import remove_tree
from gradloom.jobs.orphans import sweep_orphans
from gradloom.jobs.records import DeletedJob
from gradloom.jobs.store import Store
from gradloom.jobs.sweep import sweep_job
from gradloom.jobs.trouble import TroubleLog

logger = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 30.0
"""After a job whose files could not be removed, or whose checkpoints could not be gone through."""
_KEEP_SECONDS: Final = 60.0
"""The service clock is kept so often at least: so much of it a crash may take."""
REMEMBER_SECONDS: Final = 7200.0
"""For so long at least the repeat of a request is given the first result, and for as long again at most: by the service
clock, so that servers that live for an hour each forget, too."""


class Housekeeper:
    """The housekeeper of one server. Belongs to one thread, which is not the scheduler's: removing files takes long."""

    def __init__(
        self,
        store: Store,
        instruments: Instruments,
        own_root: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`own_root` is the artifact root, where no other server can have the same; `clock` is monotonic."""
        self._store = store
        self._instruments = instruments
        self._own_root = own_root
        self._clock = clock
        self._clock_at_start = clock()
        self._served_before = 0.0
        self._kept = self._forgot_at = 0.0
        self._not_before: dict[str, float] = {}
        self._trouble = TroubleLog(logger, clock)

    def begin(self) -> None:
        """Reads the service clock and sweeps an artifact root of its own; once, before the first tick."""
        self._served_before = self._kept = self._forgot_at = self._store.clock_seconds()
        self._clock_at_start = self._clock()
        if self._own_root is not None:
            sweep_orphans(self._own_root, self._store.known_jobs)

    def tick(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Does what is to be done now; between two jobs it can be stopped.

        Trouble with one kind of work keeps no other from being done: on a full disk it is removals that help. What is
        only written again and again waits then.
        """
        for work in (self._forget_requests, self._keep_time, self._settle, self._remove_deleted, self._look_at_disk):
            try:
                work(is_stopping)
            except (GradloomError, OSError) as error:
                self._trouble.tell("The housekeeper failed", error)

    def _forget_requests(self, _is_stopping: Callable[[], bool]) -> None:
        served = self._served()
        if served // REMEMBER_SECONDS == self._forgot_at // REMEMBER_SECONDS or self._store.full_disk():
            return
        # Both or neither: forgetting again too soon would forget what was asked a moment ago.
        with self._store.together():
            self._store.forget_requests()
            self._store.keep_clock(served)
        self._forgot_at = self._kept = served

    def _served(self) -> float:
        """What the service clock shows."""
        return self._served_before + self._clock() - self._clock_at_start

    def _keep_time(self, _is_stopping: Callable[[], bool]) -> None:
        served, is_needed = self._served(), self._store.has_time_to_keep()
        if (is_needed or served - self._kept >= _KEEP_SECONDS) and not self._store.full_disk():
            self._store.keep_clock(served)
            self._kept = served
        if not is_needed:
            return
        for uid, name in self._store.delete_expired(served).items():
            self._instruments.job_deleted(uid)
            logger.info("%s is deleted: the time that its spec.retention gives it after its end is over", name)

    def _settle(self, is_stopping: Callable[[], bool]) -> None:
        for uid in self._store.unsettled_jobs(but=self._postponed()):
            if is_stopping():
                return
            try:
                self._store.settle_job(uid)
                sweep_job(self._store, uid)
            except (GradloomError, OSError) as error:
                self._postpone(uid, f"What {uid} need not keep could not be removed", error)

    def _remove_deleted(self, is_stopping: Callable[[], bool]) -> None:
        while jobs := self._store.deleted_jobs(but=self._postponed()):
            for job in jobs:
                if is_stopping():
                    return
                self._remove(job)

    def _remove(self, job: DeletedJob) -> None:
        """Files first: as long as one is left, so is the record of whose it is."""
        try:
            for directory in job.directories:
                remove_tree(directory)
            self._store.forget_job(job.uid)
        except (GradloomError, OSError) as error:
            self._postpone(job.uid, f"The deleted job {job.uid} could not be removed", error)
            return
        logger.info("The deleted job %s is removed", job.uid)

    def _look_at_disk(self, _is_stopping: Callable[[], bool]) -> None:
        self._store.make_reserve_again()

    def _postpone(self, uid: str, what: str, error: Exception) -> None:
        self._not_before[uid] = self._clock() + _PAUSE_SECONDS
        self._trouble.tell(what, error)

    def _postponed(self) -> list[str]:
        now = self._clock()
        self._not_before = {uid: moment for uid, moment in self._not_before.items() if moment > now}
        return list(self._not_before)
