"""BatchNormalization under several replicas and in frozen parts of a model."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import keras


def synchronize_batch_normalization(model: keras.Model) -> list[str]:
    """Makes every BatchNormalization of the model, nested ones too, use the statistics of the whole global batch.

    Returns the paths of the layers. Without it each replica would normalise by its own share, and the number of
    replicas would change the result.
    """
    found = _layers(model)
    for layer in found:
        layer.synchronized = True
    return [layer.path for layer in found]


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
