"""Wakes those who watch a job after something about it was committed.

The hub carries no content: a watcher that wakes reads the store. Wakes conflate, so a slow watcher costs one flag
however much happens.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Watcher:
    """One watcher of one job; made by `Hub.watch`, used in the event loop in which it was entered.

    Enter it *before* the first read of the store, so that nothing falls between the read and the wait.
    """

    def __init__(self, hub: "Hub", uid: str):
        self._hub = hub
        self._uid = uid
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._wake_is_scheduled = False

    @property
    def version(self) -> int:
        """Rises with whatever happens to the job while somebody watches it: a version has one state."""
        return self._hub._versions[self._uid]

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Waits until the job changed since the last wait (or since entering); False when the time ran out first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def __enter__(self) -> Self:
        self._hub._add(self._uid, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hub._remove(self._uid, self)

    def _wake(self) -> None:
        """Called by any thread, under the hub's lock."""
        if self._wake_is_scheduled:
            return
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # Its loop is closed: nobody is left to be woken.
            return
        self._wake_is_scheduled = True

    def _set(self) -> None:
        with self._hub._lock:
            self._wake_is_scheduled = False
        self._woken.set()


class Hub:
    """Who watches which job. `publish` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakes: list[Callable[[], None]] = []
        self._watchers: dict[str, set[Watcher]] = {}
        # How often each was published that is watched now.
        self._versions: dict[str, int] = {}
        self._held = threading.local()

    def watch(self, uid: str) -> Watcher:
        """A watcher of one job; a context manager, for the running event loop."""
        return Watcher(self, uid)

    def wake_on_any(self, wake: Callable[[], None]) -> None:
        """Calls `wake` after every change of any job from now on, in whichever thread made it: it must not block."""
        with self._lock:
            self._wakes.append(wake)

    def publish(self, uid: str) -> None:
        """Wakes whoever watches the job."""
        held: list[str] | None = getattr(self._held, "uids", None)
        if held is not None:
            held.append(uid)
            return
        with self._lock:
            if uid in self._versions:
                self._versions[uid] += 1
            for watcher in self._watchers.get(uid, ()):
                watcher._wake()
            for wake in self._wakes:
                wake()

    def wake_all(self) -> None:
        """Wakes every watcher, though nothing happened to its job."""
        with self._lock:
            for watchers in self._watchers.values():
                for watcher in watchers:
                    watcher._wake()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps what this thread publishes within until the end, when it can be seen."""
        uids: list[str] = []
        self._held.uids = uids
        try:
            yield
        finally:
            self._held.uids = None
            for uid in dict.fromkeys(uids):
                self.publish(uid)

    def is_watched(self, uid: str) -> bool:
        """Whether anybody watches this job now."""
        with self._lock:
            return uid in self._watchers

    def watcher_count(self) -> int:
        """How many watch now."""
        with self._lock:
            return sum(len(watchers) for watchers in self._watchers.values())

    def _add(self, uid: str, watcher: Watcher) -> None:
        with self._lock:
            self._watchers.setdefault(uid, set()).add(watcher)
            self._versions.setdefault(uid, 0)

    def _remove(self, uid: str, watcher: Watcher) -> None:
        with self._lock:
            watchers = self._watchers.get(uid, set())
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(uid, None)
                self._versions.pop(uid, None)
