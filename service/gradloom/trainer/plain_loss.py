"""A loss that is a plain function."""

from collections.abc import Callable
from typing import Any

import keras


class PlainLoss(keras.losses.Loss):
    """Makes of a function of labels and outputs a loss, whose value is the mean of what the function gives.

    Args:
        function: Takes labels and outputs of a batch and gives one number for each example, [b, ...], or for the batch.
        name: Names the loss; by default the function's name.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str = ""):
        super().__init__(name=name or function.__name__)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """What the function gives."""
        return self.function(y_true, y_pred)
