"""What the loss of an example counts for its class's sake."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


class ClassWeights:
    """Weights of the classes of one output, for labels that are class numbers or one-hot.

    Args:
        weights: By class number; other classes weigh 1.
        dtype: Of the weights that are given out.
    """

    def __init__(self, weights: Mapping[int, float], dtype: Any):
        self._known = max(weights) + 1
        # The last one is that of all classes beyond, and of numbers that are no class (ignored ones).
        self._table = tf.constant([weights.get(number, 1.0) for number in range(self._known + 1)], dtype)

    def of(self, labels: tf.Tensor) -> tf.Tensor:
        """The weight of each example, [n], from labels [n], [n, 1] or [n, classes]."""
        if labels.shape.rank > 1 and labels.shape[-1] != 1:
            numbers = tf.argmax(labels, axis=-1, output_type=tf.int64)
        else:
            numbers = tf.cast(tf.reshape(labels, [-1]), tf.int64)
        known = (numbers >= 0) & (numbers < self._known)
        return tf.gather(self._table, tf.where(known, numbers, self._known))
