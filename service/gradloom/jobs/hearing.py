"""For how long each trainer has been silent, by its calls and the ticks of the one who listens."""

import threading
from collections.abc import Callable, Iterable
from typing import Final

MOST_BETWEEN_TICKS_SECONDS: Final = 5.0
"""More than this is not counted: whoever was held up himself could not hear either."""

Key = tuple[str, int]
"""The uid of a job and the number of its attempt."""


class Hearing:
    """Calls of trainers, from any thread; `tick` belongs to one. `clock` is monotonic.

    What matters is that a call came through, not that it could be stored: a full disk is no trainer's silence.
    """

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._last_tick = clock()
        self._silent: dict[Key, float] = {}
        self._lock = threading.Lock()

    def heard(self, uid: str, number: int) -> None:
        """Notes a call."""
        with self._lock:
            self._silent[uid, number] = 0.0

    def tick(self, live: Iterable[Key]) -> None:
        """Adds the time since the tick before to the silence of every live attempt, and forgets all others."""
        now = self._clock()
        passed = min(now - self._last_tick, MOST_BETWEEN_TICKS_SECONDS)
        self._last_tick = now
        with self._lock:
            self._silent = {key: self._silent.get(key, 0.0) + passed for key in live}

    def silent_seconds(self, uid: str, number: int) -> float:
        """Since the newest call of an attempt, or since its start when there was none; 0 for one that is unknown."""
        with self._lock:
            return self._silent.get((uid, number), 0.0)
