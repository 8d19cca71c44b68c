"""A layer with state that is not trained."""

from typing import Any

import keras
from keras import ops

from gradloom.components.replicas import summed_over_replicas


@keras.saving.register_keras_serializable(package="gradloom")
class ComputeSum(keras.layers.Layer):
    """Passes its inputs on and keeps, in `total`, the sum over all examples that it was trained on.

    Under several replicas all of them hold the sum over the rows of all: every example counts once, however the batches
    are split. The sum is kept in float64, so that a long one is not rounded away.
    """

    sums_over_replicas = True

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.total: Any = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the sum, in the shape of one example."""
        if None in input_shape[1:]:
            raise ValueError(f"all axes but the first must be known; got the shape {input_shape}")
        self.total = self.add_weight(
            name="total",
            shape=input_shape[1:],
            initializer="zeros",
            dtype="float64",
            autocast=False,
            trainable=False,
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Takes [b, ...] and returns it as it is."""
        if training:
            (total,) = summed_over_replicas([ops.sum(ops.cast(inputs, "float64"), axis=0)])
            self.total.assign_add(total)
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape
