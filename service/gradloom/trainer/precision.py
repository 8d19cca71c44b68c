"""The floating-point types of a job: of its weights, of its computations, and the scale of the loss in float16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import keras
import tensorflow as tf

from gradloom.spec.precision import policy_of
from gradloom.v1 import spec_pb2

FIRST_SCALE: Final = 2.0**15
GOOD_STEPS_TO_GROW: Final = 2000


def set_precision(options: spec_pb2.TrainingSpec) -> None:
    """Sets the process's dtype policy and default type: what is built from now on has them."""
    policy = policy_of(options)
    # Losses, metrics and learning rates have the default type: float32 also where layers compute in less.
    keras.config.set_floatx("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy(policy)


@contextmanager
def computing_as_weights_are(model: keras.Model) -> Iterator[None]:
    """Within it the model computes in the type of its weights, also where it does in less: to compare losses."""
    policies = [
        (layer, layer.dtype_policy) for layer in model._flatten_layers() if layer.compute_dtype != layer.variable_dtype
    ]
    for layer, _ in policies:
        layer.dtype_policy = layer.variable_dtype
    try:
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy


class LossScale:
    """What the loss is multiplied with before the backward pass, so that gradients are not lost in float16.

    One for all groups together. It doubles after many steps without an overflow; in a step with one, in which no group
    may be updated, it halves. Made under the strategy's scope.
    """

    def __init__(self) -> None:
        self._scale = tf.Variable(FIRST_SCALE, dtype=tf.float32, trainable=False, name="loss_scale")
        with tf.device("CPU:0"):
            self._good_steps = tf.Variable(0, dtype=tf.int32, trainable=False, name="good_steps")

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss whose gradients are asked for; runs in replica context."""
        return loss * tf.cast(self._scale, loss.dtype)

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss itself; runs in replica context. Exact: the scale is a power of two."""
        return [gradient * tf.cast(1 / self._scale, gradient.dtype) for gradient in gradients]

    def adjust(self, finite: tf.Tensor) -> tf.Tensor:
        """Grows or shrinks it after a step; whether there is still room to shrink. Runs in cross-replica context."""
        good = tf.where(finite, self._good_steps + 1, 0)
        grown = good >= GOOD_STEPS_TO_GROW
        self._good_steps.assign(tf.where(grown, 0, good))
        factor = tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5)
        scale = tf.convert_to_tensor(self._scale) * factor
        self._scale.assign(scale)
        return scale >= 1

    def value(self) -> float:
        """The scale of the next step."""
        return float(self._scale.numpy())

    def saved_variables(self) -> dict[str, tf.Variable]:
        """By a stable key."""
        return {"scale": self._scale, "good_steps": self._good_steps}
