"""A loss made from a layer's inputs."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class ActivityRegularization(keras.layers.Layer):
    """Passes its inputs on and adds a loss made from them: `l1 * sum(|x|) + l2 * sum(x^2)`.

    Args:
        l1: Float, factor of the absolute values; at least 0.
        l2: Float, factor of the squares; at least 0.
        reduction: String, one of `mean` and `sum`. With `mean` the loss is divided by the number of examples, as Keras
            does with every activity regularizer; with `sum` it grows with the batch.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, reduction: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        for name, factor in (("l1", l1), ("l2", l2)):
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"{name} must be at least 0 and finite; got {factor}")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be mean or sum; got {reduction!r}")
        self.l1 = float(l1)
        self.l2 = float(l2)
        self.reduction = reduction
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns it as it is."""
        # At least float32: a float16 sum overflows.
        values = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        loss = self.l1 * ops.sum(ops.abs(values)) + self.l2 * ops.sum(ops.square(values))
        if self.reduction == "mean":
            loss = loss / ops.cast(ops.shape(values)[0], values.dtype)
        self.add_loss(loss)
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "l1": self.l1, "l2": self.l2, "reduction": self.reduction}
