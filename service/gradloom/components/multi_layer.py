"""A layer of two inputs and three outputs."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class MultiLayer(keras.layers.Layer):
    """Takes two inputs of one shape and gives their sum, their product and their ratio.

    A spec names the outputs `name`, `name:1` and `name:2`. The ratio is 0 where the second input is.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Refuses anything but two inputs of one shape."""
        if not isinstance(input_shape[0], tuple | list) or len(input_shape) != 2:
            raise ValueError(f"there must be two inputs; got the shape {input_shape}")
        first, second = (tuple(shape) for shape in input_shape)
        if first != second:
            raise ValueError(f"both inputs must have one shape; got {first} and {second}")

    def call(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Takes [b, ...] twice and returns it three times, in the layer's compute dtype."""
        first, second = inputs
        return ops.add(first, second), ops.multiply(first, second), ops.divide_no_nan(first, second)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[Any, Any, Any]:
        """The shape of an input, three times."""
        return (tuple(input_shape[0]),) * 3
