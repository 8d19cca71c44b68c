"""Counts limits down by a monotonic clock; the store keeps what is left, so that a restart goes on from there."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

WRITE_SECONDS: Final = 10.0
"""So much of a limit may be counted anew after a crash."""
MOST_WRITES: Final = 200
"""In one look; with more limits than that, what a crash may count anew grows."""


class Countdown:
    """One limit of many jobs. `write` stores seconds left by uid; `clock` is monotonic."""

    def __init__(self, write: Callable[[Mapping[str, float]], None], clock: Callable[[], float]):
        self._write = write
        self._clock = clock
        self._counted: dict[str, tuple[float, float]] = {}
        """What is stored of each job that the limit applies to, and from when on its time counts against that.
        Replaced as a whole, so that other threads may read it."""

    def look(self, stored: Mapping[str, float]) -> list[str]:
        """Tells whose time is over, each time until it is no longer among `stored`.

        Takes the seconds left, as stored, of every job to which the limit applies now. Time counts from the first
        look that saw a job so; what passed of a job that is no longer among them is stored.
        """
        now = self._clock()
        gone = self._counted.keys() - stored.keys()
        late = [uid for uid, (_, since) in self._counted.items() if uid not in gone and now - since >= WRITE_SECONDS]
        written = {uid: self._left(uid, now) for uid in [*gone, *late[:MOST_WRITES]]}
        if written:
            self._write(written)
        counted = {uid: self._counted.get(uid, (left, now)) for uid, left in stored.items()}
        self._counted = {uid: (written[uid], now) if uid in written else kept for uid, kept in counted.items()}
        return [uid for uid in self._counted if self._left(uid, now) <= 0.0]

    def left(self, uid: str) -> float | None:
        """The seconds left of a job's limit, as of now; None where it does not apply. From any thread."""
        counted = self._counted.get(uid)
        return None if counted is None else max(0.0, counted[0] - (self._clock() - counted[1]))

    def forget(self, uids: Collection[str]) -> None:
        """The limits of these jobs are no more, and nothing is stored of them; what is found next counts from there."""
        self._counted = {uid: counted for uid, counted in self._counted.items() if uid not in uids}

    def settle(self) -> None:
        """Stores everything that was counted; before the end of the server."""
        self.look({})

    def _left(self, uid: str, now: float) -> float:
        left, since = self._counted[uid]
        return max(0.0, left - (now - since))
