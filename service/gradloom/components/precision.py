"""Precision of a binary classification."""

import math
from typing import Any

import keras
from keras import ops

from gradloom.components.elementwise import aligned, weights_like


@keras.saving.register_keras_serializable(package="gradloom")
class Precision(keras.metrics.Metric):
    """The share of true positives among all positives predicted since the last reset.

    It keeps both counts: the mean of each batch's precision would be another number.

    Args:
        threshold: Float, outputs above it are positive; 0 for logits. Labels are positive above 0.5.
        name: String.
        dtype: Dtype of the counts; by default Keras's float type.
    """

    def __init__(self, threshold: float = 0.5, name: str = "precision", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be finite; got {threshold}")
        self.threshold = float(threshold)
        self.true_positives = self.add_variable((), "zeros", name="true_positives")
        self.predicted_positives = self.add_variable((), "zeros", name="predicted_positives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels and outputs of one shape [b, ...], with weights of the examples [b] where they are given."""
        labels, outputs = aligned(ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype))
        positive = ops.cast(outputs > self.threshold, self.dtype) * weights_like(outputs, sample_weight)
        self.predicted_positives.assign_add(ops.sum(positive))
        self.true_positives.assign_add(ops.sum(positive * ops.cast(labels > 0.5, self.dtype)))

    def result(self) -> Any:
        """The share; 0 when nothing was predicted positive."""
        return ops.divide_no_nan(self.true_positives, self.predicted_positives)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "threshold": self.threshold}
