"""The watchdog: a thread that finds what hangs in an attempt, and an end that does not wait for it.

The thread that runs the attempt says what it is at: a stage, which is to come to its end; batches, which are to follow
one another; or a wait for somebody else, who has all the time there is. These lie within one another, and the innermost
alone is judged; what lies around it has its whole time again afterwards.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from gradloom.v1 import job_pb2

TRACING_SECONDS: Final = 600.0
"""What the first batch of its kind may take at least: it is traced, and perhaps compiled."""
TELLING_SECONDS: Final = 60.0
"""Of what takes longer the log tells, so that who looks there sees what goes on."""
LONGEST_LOOK_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)

Stage = Callable[[str], AbstractContextManager[None]]
"""Such as `Watchdog.stage`: within what it gives for the words, that stage is in work."""


def unwatched(what: str) -> AbstractContextManager[None]:
    """The `Stage` of work that somebody else watches."""
    return nullcontext()


@dataclass(frozen=True)
class Hang:
    """What hangs."""

    reason: job_pb2.Job.Reason
    message: str


@dataclass(frozen=True, eq=False)
class _Work:
    """What is in work; another object each time that the time for it begins."""

    what: str
    reason: job_pb2.Job.Reason
    setting: str
    first_seconds: float
    """What it may take until its count moves."""
    seconds: float
    """And from then on, each time."""
    count: Callable[[], int]


class Watchdog:
    """Judges by a counter that moves, against the time for which this process ran.

    `stage`, `batches` and `paused` belong to one thread.

    Args:
        step_seconds: What a step, or a batch of an evaluation, may take.
        stage_seconds: What a stage may take.
        on_hang: Called once, in the watchdog's thread; does not return.
        tracing_seconds: As `TRACING_SECONDS`.
        telling_seconds: As `TELLING_SECONDS`.
    """

    def __init__(
        self,
        step_seconds: float,
        stage_seconds: float,
        on_hang: Callable[[Hang], None],
        tracing_seconds: float = TRACING_SECONDS,
        telling_seconds: float = TELLING_SECONDS,
    ):
        self._step_seconds = step_seconds
        self._stage_seconds = stage_seconds
        self._tracing_seconds = max(step_seconds, tracing_seconds)
        self._telling_seconds = telling_seconds
        self._on_hang = on_hang
        self._work: _Work | None = None
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

    def stage(self, what: str) -> AbstractContextManager[None]:
        """Within it, a part of the attempt outside of its steps is to come to its end.

        Args:
            what: What the part is, to tell.
        """
        reason, seconds = job_pb2.Job.STAGE_HUNG, self._stage_seconds
        return self._judging(_Work(what, reason, "training.stage_timeout_seconds", seconds, seconds, lambda: 0))

    @contextmanager
    def batches(self, count: Callable[[], int], kind: object, what: str) -> Iterator[None]:
        """Within it, batches are expected to follow one another.

        Args:
            count: How many there were so far; asked from the watchdog's thread.
            kind: Equal for batches that run the same traced function.
            what: What a batch is, to tell.
        """
        # After the first batch, nothing is traced any more.
        first_seconds = self._step_seconds if kind in self._known else self._tracing_seconds
        reason, setting = job_pb2.Job.STEP_HUNG, "training.step_timeout_seconds"
        with self._judging(_Work(what, reason, setting, first_seconds, self._step_seconds, count)):
            yield
        self._known.add(kind)

    def paused(self) -> AbstractContextManager[None]:
        """Within it nothing hangs: what waits for the server, or for room on a disk, waits for as long as it takes."""
        return self._judging(None)

    @contextmanager
    def _judging(self, work: _Work | None) -> Iterator[None]:
        outer, self._work = self._work, work
        try:
            yield
        finally:
            # What has come to an end within it is progress: its time begins anew.
            self._work = None if outer is None else replace(outer)

    def _run(self) -> None:
        look_seconds = min(LONGEST_LOOK_SECONDS, self._step_seconds / 5, self._stage_seconds / 5)
        judged: _Work | None = None
        told: _Work | None = None
        counted, waited, allowed = 0, 0.0, 0.0
        before = time.monotonic()
        while not self._end.wait(look_seconds):
            now = time.monotonic()
            # A process that was stopped for a while did not hang for that long.
            passed, before = min(now - before, 2 * look_seconds), now
            work = self._work
            if work is None:
                judged = None
                continue
            count = work.count()
            if work is not judged:
                judged, counted, waited, allowed = work, count, 0.0, work.first_seconds
            elif count != counted:
                counted, waited, allowed = count, 0.0, work.seconds
            else:
                waited += passed
            if waited > self._telling_seconds and told is not work:
                logger.info("%s has taken %.3g s so far; %g are allowed (%s)", work.what, waited, allowed, work.setting)
                told = work
            if waited > allowed:
                self._on_hang(Hang(work.reason, f"{work.what} took longer than {allowed:g} s ({work.setting})"))
                return
