"""Reads of the store that all who follow a job share."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gradloom.api.offload import Offload
from gradloom.jobs.events import Hub, Watcher

T = TypeVar("T")


class Looks:
    """Looks at jobs for all who follow them: a thousand followers cost one read of the store, and hold one answer."""

    def __init__(self, hub: Hub, offload: Offload):
        self._hub = hub
        self._offload = offload
        self._by_uid: dict[str, tuple[int, dict[Hashable, asyncio.Future[Any]]]] = {}

    @contextmanager
    def watch(self, uid: str) -> Iterator[Watcher]:
        """Wakes for one job; what was read for it is forgotten with its last watcher."""
        try:
            with self._hub.watch(uid) as watcher:
                yield watcher
        finally:
            if not self._hub.is_watched(uid):
                self._by_uid.pop(uid, None)

    async def look(self, watcher: Watcher, uid: str, what: Hashable, read: Callable[[], T], *, anew: bool = False) -> T:
        """What `read` gives, begun after whatever woke this watcher; shared, so never to be changed.

        Args:
            watcher: Of the job.
            uid: The job's.
            what: The same for all whose `read` gives the same.
            read: Reads the store.
            anew: Also when somebody had such a look before.
        """
        version, looks = self._by_uid.get(uid, (None, {}))
        if version != watcher.version or anew:
            looks = {}
            self._by_uid[uid] = (watcher.version, looks)
        look = looks.get(what)
        if look is None or (look.done() and (look.cancelled() or look.exception())):
            look = looks[what] = asyncio.ensure_future(self._offload.read(read))
            # Also takes what it raises when nobody waits any more, so that nobody logs it.
            look.add_done_callback(lambda done: done.cancelled() or done.exception())
        answer: T = await asyncio.shield(look)
        return answer
