"""Keeps what blocks (the disk, the database, long checks) out of the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from gradloom.errors import LimitExceededError, ServerUnavailableError

P = ParamSpec("P")
T = TypeVar("T")

READ_THREADS: Final = 4
MOST_TOGETHER: Final = 32
"""So many changes wait for the disk at once; more would keep others from writing for long."""

_Waiting = tuple[Callable[[], Any], asyncio.Future[Any]]


class Offload:
    """Two pools, so that reads never queue behind writes that wait for the disk; the store has one writer anyway."""

    def __init__(self, together: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """`together` is the store's: what is changed within is made durable at its end."""
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._together = together
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    async def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that changes nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._reads, partial(call, *args, **kwargs))

    async def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that changes the store; it ends even when its caller has gone."""
        return await asyncio.get_running_loop().run_in_executor(self._writes, partial(call, *args, **kwargs))

    async def write_together(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for calls that come in crowds: those that wait for the writer go to the disk together."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append((partial(call, *args, **kwargs), done))
            if len(self._waiting) == 1:
                self._writes.submit(self._write_waiting, loop)
        return await done

    def _write_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            taken, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            if self._waiting:
                self._writes.submit(self._write_waiting, loop)
        try:
            with self._together() if len(taken) > 1 else nullcontext():
                outcomes = [_outcome(call) for call, _ in taken]
        except Exception as error:
            outcomes = [(None, error)] * len(taken)
        loop.call_soon_threadsafe(_tell, taken, outcomes)

    def close(self) -> None:
        """Waits for calls under way."""
        self._reads.shutdown()
        self._writes.shutdown()


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a call gave, or raised about itself; lets through what the database raised, which is about all of them."""
    try:
        return call(), None
    except (ServerUnavailableError, LimitExceededError):
        raise
    except Exception as error:
        return None, error


def _tell(taken: list[_Waiting], outcomes: list[tuple[Any, Exception | None]]) -> None:
    for (_, done), (result, error) in zip(taken, outcomes, strict=True):
        if done.cancelled():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
