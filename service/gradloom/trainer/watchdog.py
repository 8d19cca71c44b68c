"""The watchdog: a thread that finds a training step that hangs, and an end that does not wait for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

TRACING_SECONDS: Final = 600.0
"""What the first batch of its kind may take at least: it is traced, and perhaps compiled."""
LONGEST_LOOK_SECONDS: Final = 1.0


class Watchdog:
    """Judges by a counter that moves, against the time for which this process ran.

    Args:
        timeout_seconds: What a step, or a batch of an evaluation, may take.
        count: How many there were so far; asked from the watchdog's thread.
        on_hang: Called once, in that thread, with what to tell; does not return.
        tracing_seconds: As `TRACING_SECONDS`.
    """

    def __init__(
        self,
        timeout_seconds: float,
        count: Callable[[], int],
        on_hang: Callable[[str], None],
        tracing_seconds: float = TRACING_SECONDS,
    ):
        self._timeout_seconds = timeout_seconds
        self._tracing_seconds = max(timeout_seconds, tracing_seconds)
        self._count = count
        self._on_hang = on_hang
        self._work: tuple[object, str, float] | None = None
        self._known: set[object] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @contextmanager
    def watching(self, kind: object, what: str) -> Iterator[None]:
        """Within it, batches are expected to follow one another.

        Args:
            kind: Equal for batches that run the same traced function.
            what: What a batch is, to tell.
        """
        limit = self._timeout_seconds if kind in self._known else self._tracing_seconds
        self._work = object(), what, limit
        try:
            yield
        finally:
            self._work = None
        self._known.add(kind)

    def _run(self) -> None:
        look_seconds = min(LONGEST_LOOK_SECONDS, self._timeout_seconds / 5)
        seen: tuple[object, int] | None = None
        waited = 0.0
        moved_within: object = None
        before = time.monotonic()
        while not self._end.wait(look_seconds):
            now = time.monotonic()
            # A process that was stopped for a while did not hang for that long.
            passed, before = min(now - before, 2 * look_seconds), now
            work = self._work
            if work is None:
                seen, waited = None, 0.0
                continue
            identity, what, limit = work
            count = self._count()
            if seen is not None and seen[0] is identity and seen[1] != count:
                moved_within = identity
            waited = waited + passed if seen == (identity, count) else 0.0
            seen = identity, count
            # After the first batch, nothing is traced any more.
            allowed = self._timeout_seconds if moved_within is identity else limit
            if waited > allowed:
                self._on_hang(f"{what} took longer than {allowed:g} s (training.step_timeout_seconds)")
                return
