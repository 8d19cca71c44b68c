"""How fast a training is."""

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 10.0


class Speed:
    """Training examples per second over the newest ten seconds in training steps.

    Evaluation is no part of it, and neither is the first step, in which the graph is traced.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def per_second(self, step_seconds: float, examples: int) -> float | None:
        """Takes a look after the first step; None before there are two with time between them.

        Args:
            step_seconds: Spent in training steps so far.
            examples: Trained so far.
        """
        self._looks.append((step_seconds, examples))
        while len(self._looks) > 1 and step_seconds - self._looks[1][0] >= WINDOW_SECONDS:
            self._looks.popleft()
        since, before = self._looks[0]
        return (examples - before) / (step_seconds - since) if step_seconds > since else None
