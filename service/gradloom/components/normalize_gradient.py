"""Normalized gradients."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from gradloom.components.gradient_transformation import GradientTransformation


@keras.saving.register_keras_serializable(package="gradloom")
class NormalizeGradient(GradientTransformation):
    """Brings a group's gradients, taken as one vector, to one L2 norm; all zeros stay zeros.

    With plain gradient descent each step is then as long as the learning rate says, however flat or steep the loss.
    Unlike clipping it lengthens short gradients too. After Hazan et al., "Beyond Convexity: Stochastic Quasi-Convex
    Optimization", NIPS 2015.

    Args:
        norm: Float, the norm; above 0.
    """

    def __init__(self, norm: float = 1.0):
        if not (math.isfinite(norm) and norm > 0):
            raise ValueError(f"norm must be above 0 and finite; got {norm}")
        self.norm = float(norm)

    def __call__(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """The normalized gradients."""
        dtype = keras.backend.result_type(*(gradient.dtype for gradient in gradients))
        # Divided by the largest, the squares neither overflow nor vanish.
        largest = ops.max(ops.stack([ops.cast(ops.max(ops.abs(gradient)), dtype) for gradient in gradients]))
        scaled = [ops.divide_no_nan(ops.cast(gradient, dtype), largest) for gradient in gradients]
        length = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in scaled))
        return [
            ops.cast(ops.divide_no_nan(self.norm * own, length), gradient.dtype)
            for own, gradient in zip(scaled, gradients, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"norm": self.norm}
