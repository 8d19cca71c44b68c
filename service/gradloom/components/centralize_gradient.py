"""Gradient centralization."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from gradloom.components.gradient_transformation import GradientTransformation


@keras.saving.register_keras_serializable(package="gradloom")
class CentralizeGradient(GradientTransformation):
    """Takes from each kernel's gradient its mean over all axes but the last, the output channels.

    Vectors and scalars, such as biases, stay as they are. After Yong et al., "Gradient Centralization: A New
    Optimization Technique for Deep Neural Networks", ECCV 2020, equation 1.
    """

    def __call__(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """The centralized gradients."""
        return [_centralized(gradient) for gradient in gradients]


def _centralized(gradient: Any) -> Any:
    rank = len(gradient.shape)
    if rank < 2:
        return gradient
    return gradient - ops.mean(gradient, axis=tuple(range(rank - 1)), keepdims=True)
