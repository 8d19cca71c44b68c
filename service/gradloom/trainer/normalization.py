"""BatchNormalization under several replicas and in frozen parts of a model."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from gradloom.trainer.draws import share_in_work


def synchronize_batch_normalization(model: keras.Model) -> list[str]:
    """Makes every BatchNormalization of the model, nested ones too, use the statistics of the whole global batch.

    Returns the paths of the layers. Without it each replica would normalise by its own share, and the number of
    replicas would change the result. Keras's own `synchronized=True` does not look at a mask, and would count a row
    that only stands in.
    """
    found = _layers(model)
    for layer in found:
        layer._moments = partial(_moments_of_all, layer)
    return [layer.path for layer in found]


def _moments_of_all(
    layer: keras.layers.BatchNormalization, inputs: tf.Tensor, mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of each channel over the rows of all replicas, as the layer's own `_moments` has them of one.

    Two passes over the data, as on one device: a mean of squares less the square of a mean loses digits.
    """
    axes = layer._reduction_axes
    share = share_in_work()
    stands_in = share is not None and share.rows == 0
    kept = None if mask is None else tf.cast(mask, tf.bool)[..., tf.newaxis]

    def summed(values: tf.Tensor) -> tf.Tensor:
        own = tf.reduce_sum(values if kept is None else tf.where(kept, values, 0), axes, keepdims=True)
        # Multiplied: each replica's gradient must pass the same reductions.
        return tf.math.multiply_no_nan(own, tf.zeros_like(own)) if stands_in else own

    total, count = _sum_over_replicas(summed(inputs), summed(tf.ones_like(inputs)))
    if kept is not None:
        count += keras.config.epsilon()
    mean = total / count
    (squares,) = _sum_over_replicas(summed(tf.square(inputs - mean)))
    return tf.squeeze(mean, axes), tf.squeeze(squares / count, axes)


def _sum_over_replicas(*values: tf.Tensor) -> list[Any]:
    replica = tf.distribute.get_replica_context()
    return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, list(values))) if replica else list(values)


@contextmanager
def frozen_at_rest(model: keras.Model, trained: Collection[keras.Variable]) -> Iterator[None]:
    """Within it, while a training step is traced, layers of which nothing is trained normalise as they infer.

    That is what Keras does where `layer.trainable` is False: moving statistics are used, and left alone.
    """
    moving = {id(variable) for variable in trained}
    resting = [
        layer
        for layer in _layers(model)
        if layer.trainable_variables and not any(id(variable) in moving for variable in layer.trainable_variables)
    ]
    for layer in resting:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in resting:
            layer.trainable = True


def _layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
