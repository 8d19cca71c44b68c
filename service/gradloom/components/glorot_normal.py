"""Glorot's normal initialization."""

import math
from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="gradloom")
class GlorotNormal(keras.initializers.Initializer):
    """Draws from a normal distribution of mean 0 and variance `2 / (inputs + outputs)` of each unit.

    The distribution is not truncated, as Keras's of that name is. The last two axes of a shape are inputs and outputs,
    times the size of the axes before them, such as a convolution's window. After Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", AISTATS 2010.

    Args:
        seed: Integer; the same one draws the same values at every call. By default each call draws new ones, which
            follow from `keras.utils.set_random_seed`.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Returns values of this shape."""
        deviation = math.sqrt(2.0 / sum(fans(shape)))
        return keras.initializers.RandomNormal(0.0, deviation, self.seed)(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"seed": self.seed}


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many inputs and how many outputs a unit of a kernel of this shape has."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window
