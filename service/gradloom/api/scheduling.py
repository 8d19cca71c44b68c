"""The scheduler in a thread of its own, woken by whatever changes a job."""

import asyncio
import threading

from gradloom.jobs.events import Hub
from gradloom.jobs.scheduler import Scheduler


class SchedulerThread:
    """Runs a scheduler between `start` and `drain`; used in the event loop."""

    def __init__(self, scheduler: Scheduler, hub: Hub):
        self._scheduler = scheduler
        self._hub = hub
        self._thread = threading.Thread(target=scheduler.run, name="scheduler")
        self._waker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to claim and follow."""
        self._waker = asyncio.create_task(self._wake_on_changes())
        self._thread.start()

    async def stop(self) -> None:
        """Lets a tick under way end; none follows. Attempts live on. May be repeated."""
        if self._waker is None:
            return
        self._waker.cancel()
        self._scheduler.stop()
        await asyncio.to_thread(self._thread.join)

    async def drain(self, timeout_seconds: float, hurry: asyncio.Event) -> None:
        """Stops, then ends every attempt; sooner once `hurry` is set."""
        await self.stop()
        hurrying = asyncio.create_task(self._hurry(hurry))
        try:
            await asyncio.to_thread(self._scheduler.drain, timeout_seconds)
        finally:
            hurrying.cancel()

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._scheduler.hurry()

    async def _wake_on_changes(self) -> None:
        with self._hub.watch() as watcher:
            while await watcher.wait():
                self._scheduler.wake()
