"""How a loop in the graph is ended between two steps, from any thread."""

import threading
from typing import NamedTuple

import tensorflow as tf


class StopRequested(Exception):
    """Somebody called `request_stop`; what was in work is incomplete."""


class Wanted(NamedTuple):
    """What a loop was interrupted for, before it goes on."""

    look: bool
    checkpoint: bool


class Interrupt:
    """Ends a loop in the graph between two steps, from any thread: for a while, or for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = False
        self._look = self._checkpoint = False
        with tf.device("CPU:0"):
            self.pending = tf.Variable(False, trainable=False, name="interrupt")

    def request_look(self) -> None:
        """Asks for a look soon."""
        with self._lock:
            self._look = True
            self.pending.assign(True)

    def request_checkpoint(self) -> None:
        """Asks for a checkpoint soon."""
        with self._lock:
            self._checkpoint = True
            self.pending.assign(True)

    def request_stop(self) -> None:
        """Asks for the end."""
        with self._lock:
            self._stop = True
            self.pending.assign(True)

    def check(self) -> Wanted:
        """Raises StopRequested when the end was asked for; else returns what else was, and forgets it."""
        with self._lock:
            if self._stop:
                raise StopRequested
            wanted = Wanted(self._look, self._checkpoint)
            self._look = self._checkpoint = False
            self.pending.assign(False)
            return wanted
