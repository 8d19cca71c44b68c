"""Scalars by step on their way to the server: exact, in order, and bounded, however long the server is away."""

from collections import deque
from typing import Final

from gradloom.v1 import job_pb2

MOST_WAITING_BYTES: Final = 16 << 20
"""Some 200,000 points of four scalars. Serialized; as messages they would take ten times the memory."""
MOST_PER_REPORT: Final = 2000
MOST_BYTES_PER_REPORT: Final = 1 << 20


class Points:
    """The points that the server has not acknowledged. Whoever uses it from several threads holds a lock.

    Attributes:
        offset: How many points of this attempt came before these.
    """

    def __init__(self, offset: int = 0):
        self.offset = offset
        self._waiting: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no more should be added."""
        return self._bytes >= MOST_WAITING_BYTES

    @property
    def fill_a_report(self) -> bool:
        """Whether they should not wait for the next beat."""
        return len(self._waiting) >= MOST_PER_REPORT or self._bytes >= MOST_BYTES_PER_REPORT

    def add(self, point: job_pb2.ScalarsPoint) -> None:
        """Adds one at the end."""
        content = point.SerializeToString()
        self._waiting.append(content)
        self._bytes += len(content)

    def next_ones(self) -> list[job_pb2.ScalarsPoint]:
        """The first ones, as many as a report takes: one at least, if there is any."""
        found: list[job_pb2.ScalarsPoint] = []
        size = 0
        for content in self._waiting:
            size += len(content)
            if found and (size > MOST_BYTES_PER_REPORT or len(found) == MOST_PER_REPORT):
                break
            found.append(job_pb2.ScalarsPoint.FromString(content))
        return found

    def acknowledge(self, count: int) -> None:
        """Forgets the first `count`."""
        for _ in range(count):
            self._bytes -= len(self._waiting.popleft())
        self.offset += count
