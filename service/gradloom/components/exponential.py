"""The exponential function as a layer."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class Exponential(keras.layers.Layer):
    """Raises e to its inputs: an output that is always above 0, such as a price or a rate."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns the same shape in the layer's compute dtype."""
        return ops.exp(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape
