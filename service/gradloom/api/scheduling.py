"""The scheduler's thread: a tick whenever a job changed, and a few a second in any case."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gradloom.jobs.events import Hub
from gradloom.jobs.scheduler import Scheduler
from gradloom.jobs.trouble import TroubleLog
from gradloom.jobs.waits import Outlook

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.2
BURST_SECONDS: Final = 0.1
"""Changes that come closer together share a tick."""
FAILED_TICK_SECONDS: Final = 1.0


class SchedulerThread:
    """Runs a scheduler between `start` and `drain`; used in the event loop."""

    def __init__(self, scheduler: Scheduler, hub: Hub, clock: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._scheduler = scheduler
        self.outlook: Outlook = scheduler
        """What it knows, for any thread."""
        self._clock = clock
        self._trouble = TroubleLog(log)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler")
        hub.wake_on_any(self._woken.set)

    def start(self) -> None:
        """Starts to claim and follow."""
        self._thread.start()

    async def stop(self) -> None:
        """Lets a tick under way end; none follows. Attempts live on. May be repeated."""
        if not self._thread.is_alive():
            return
        self._scheduler.claim_no_more()
        self._stopping.set()
        self._woken.set()
        await asyncio.to_thread(self._thread.join)

    async def drain(self, timeout_seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Stops, then ends every attempt."""
        await self.stop()
        await asyncio.to_thread(self._scheduler.drain, timeout_seconds, is_hurried)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self._scheduler.tick(self._clock())
            except Exception as error:
                # Such as a disk that is full: the next tick begins with the store again, so nothing is lost.
                self._trouble.tell("A tick of the scheduler failed", error)
                self._stopping.wait(FAILED_TICK_SECONDS)
            self._stopping.wait(BURST_SECONDS)
            self._woken.wait(TICK_SECONDS)
