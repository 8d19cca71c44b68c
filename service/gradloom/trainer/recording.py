"""Scalars of every so many steps, kept in the graph until the loop takes them: its steps need not be interrupted."""

from collections.abc import Iterator
from typing import Final

import tensorflow as tf

from gradloom.trainer.step import Tally

MOST_POINTS: Final = 1000
MOST_BYTES: Final = 1 << 20


class Recording:
    """What a tally has come to after each step that is to be recorded.

    Attributes:
        every_steps: It is every so many-th one.
        most_points: How many are kept: whoever trains more takes them in between.
    """

    def __init__(self, tally: Tally, every_steps: int):
        self.every_steps = every_steps
        self._tally = tally
        width = len(tally.names)
        self.most_points = max(1, min(MOST_POINTS, MOST_BYTES // (8 * width)))
        with tf.device("CPU:0"):
            self._kept = tf.Variable(tf.zeros([self.most_points, width], tf.float64), trainable=False, name="recorded")

    def after_step(self, global_step: tf.Tensor) -> None:
        """Keeps what the tally has come to, if this step is to be recorded; in the graph, in cross-replica context."""

        def keep() -> tf.Tensor:
            row = global_step // self.every_steps % self.most_points
            self._kept.scatter_nd_update([[row]], [self._tally.measured()])
            return tf.constant(True)

        tf.cond(tf.equal(global_step % self.every_steps, 0), keep, lambda: tf.constant(False))

    def between(self, begin: int, end: int) -> Iterator[tuple[int, list[float]]]:
        """Each step after `begin`, up to `end`, that was recorded, and what the tally had come to then."""
        numbers = range(begin // self.every_steps + 1, end // self.every_steps + 1)
        if numbers:
            kept = self._kept.numpy()
            for number in numbers:
                yield number * self.every_steps, kept[number % self.most_points].tolist()
