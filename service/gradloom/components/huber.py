"""The Huber loss, to train with and as a metric."""

import math
from typing import Any

import keras
from keras import ops

from gradloom.components.elementwise import aligned, mean_of_each, weights_like


def checked_threshold(threshold: float) -> float:
    """The threshold as a float; raises ValueError unless it is above 0 and finite."""
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold must be above 0 and finite; got {threshold}")
    return float(threshold)


def huber(labels: Any, outputs: Any, threshold: float) -> Any:
    """Elementwise `error^2 / 2` up to the threshold, from there on `threshold * (|error| - threshold / 2)`.

    After Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    labels, outputs = aligned(labels, outputs)
    error = ops.abs(labels - outputs)
    quadratic = ops.minimum(error, threshold)
    # One formula for both branches: a squared error that is not chosen cannot overflow.
    return quadratic * (error - 0.5 * quadratic)


@keras.saving.register_keras_serializable(package="gradloom")
class Huber(keras.losses.Loss):
    """Squares small errors and takes large ones as they are, so that outliers do not pull; the threshold is saved.

    Args:
        threshold: Float, the largest absolute error that is squared; above 0.
        reduction: String, as in every Keras loss: `sum_over_batch_size` is the mean over examples.
        name: String.
        dtype: Dtype of the loss; by default Keras's float type.
    """

    def __init__(
        self, threshold: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "huber", dtype: Any = None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.threshold = checked_threshold(threshold)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Takes labels and outputs of one shape [b, ..., size] and returns [b, ...], the mean over the last axis."""
        return mean_of_each(huber(y_true, y_pred, self.threshold))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument but the dtype, which Keras does not save."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="gradloom")
class HuberMetric(keras.metrics.Metric):
    """The mean Huber loss over everything seen since the last reset, each element counted once.

    Args:
        threshold: Float, the largest absolute error that is squared; above 0.
        name: String.
        dtype: Dtype of the sums; by default Keras's float type.
    """

    def __init__(self, threshold: float = 1.0, name: str = "huber", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.threshold = checked_threshold(threshold)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels and outputs of one shape [b, ...], with weights of the examples [b] where they are given."""
        values = huber(ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype), self.threshold)
        weights = weights_like(values, sample_weight)
        self.total.assign_add(ops.sum(values * weights))
        self.count.assign_add(ops.sum(weights))

    def result(self) -> Any:
        """The mean; 0 when nothing was seen."""
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "threshold": self.threshold}
