"""Logs trouble that comes again and again, such as a full disk, without filling the log with it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gradloom.errors import GradloomError

REPEAT_SECONDS: Final = 60.0


class TroubleLog:
    """What was logged lately. Belongs to one thread at a time."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic):
        """`clock` is monotonic, in seconds."""
        self._logger = logger
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}

    @contextmanager
    def kept_from_others(self, what: str) -> Iterator[None]:
        """Logs trouble of the world as `tell` does, instead of having it keep from its work whatever comes after."""
        try:
            yield
        except (GradloomError, OSError) as error:
            self.tell(what, error)

    def tell(self, what: str, error: Exception) -> None:
        """Logs that `what` failed with `error`.

        GradloomError and OSError are the world's fault: one line, again only when its text changes or a minute has
        passed. Anything else may be ours: always, with its traceback.
        """
        if not isinstance(error, GradloomError | OSError):
            self._logger.error("%s", what, exc_info=error)
            return
        now, text = self._clock(), str(error) or type(error).__name__
        self._told = {key: told for key, told in self._told.items() if now - told[1] < REPEAT_SECONDS}
        if what not in self._told or self._told[what][0] != text:
            self._told[what] = (text, now)
            self._logger.error("%s: %s", what, text)
