"""Keeps what blocks (the disk, the database, long checks) out of the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

READ_THREADS: Final = 4


class Offload:
    """Two pools, so that reads never queue behind writes that wait for the disk; the store has one writer anyway."""

    def __init__(self) -> None:
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="write")

    async def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that changes nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._reads, partial(call, *args, **kwargs))

    async def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that changes the store; it ends even when its caller has gone."""
        return await asyncio.get_running_loop().run_in_executor(self._writes, partial(call, *args, **kwargs))

    def close(self) -> None:
        """Waits for calls under way."""
        self._reads.shutdown()
        self._writes.shutdown()
