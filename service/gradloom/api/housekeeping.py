"""The housekeeper's thread: one look a second, from the server's start to its end."""

import logging
import threading
from typing import Final

from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.trouble import TroubleLog

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0


class HousekeepingThread:
    """Runs a housekeeper between `start` and `stop`."""

    def __init__(self, housekeeper: Housekeeper):
        self._housekeeper = housekeeper
        self._trouble = TroubleLog(log)
        self._stopping = threading.Event()
        # A daemon: a removal that takes long must not hold up the end of the server; the next one goes on with it.
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Begins, with the sweep of the artifact root."""
        self._thread.start()

    def stop(self) -> None:
        """Lets a removal under way end, for some seconds."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        work = self._housekeeper.begin
        while not self._stopping.is_set():
            try:
                work()
                work = self._tick
            except Exception as error:
                # Such as a disk that is full: what is to be done is on record, so nothing is lost.
                self._trouble.tell("The housekeeper failed", error)
            self._stopping.wait(LOOK_SECONDS)

    def _tick(self) -> None:
        self._housekeeper.tick(self._stopping.is_set)
