"""The counter by which supervisors see that a server lives: 8 bytes in a file, rewritten in place once a second."""

import logging
import os
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0


class ServerBeat:
    """Moves the counter from a thread of its own, so that a slow disk or database elsewhere does not stop it."""

    def __init__(self, path: Path):
        """Creates the file when there is none; raises OSError."""
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server-beat", daemon=True)
        # Once before anything is started, so that the blocks are taken and a supervisor never finds the file empty.
        self._advance()
        self._thread.start()

    def close(self) -> None:
        """Stops the counter."""
        self._stopped.set()
        self._thread.join()
        os.close(self._handle)

    def _advance(self) -> None:
        count = int.from_bytes(os.pread(self._handle, 8, 0), "little")
        os.pwrite(self._handle, ((count + 1) % 2**64).to_bytes(8, "little"), 0)

    def _run(self) -> None:
        failed = False
        while not self._stopped.wait(_BEAT_SECONDS):
            try:
                self._advance()
                failed = False
            except OSError as error:
                if not failed:
                    logger.error("%s cannot be written: supervisors will end their attempts: %s", self.path, error)
                failed = True
