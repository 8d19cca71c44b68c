"""L1 regularization."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class L1(keras.regularizers.Regularizer):
    """Adds `factor * sum(|w|)` to the loss, which pushes weights to exactly 0.

    Args:
        factor: Float, at least 0.
    """

    def __init__(self, factor: float = 0.01):
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"factor must be at least 0 and finite; got {factor}")
        self.factor = float(factor)

    def __call__(self, x: Any) -> Any:
        """Takes weights of any shape and returns one number in their dtype."""
        return self.factor * ops.sum(ops.abs(x))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"factor": self.factor}
