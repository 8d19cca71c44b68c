"""Weights that are not negative."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class NonNegative(keras.constraints.Constraint):
    """Sets negative weights to 0 after each update."""

    def __call__(self, w: Any) -> Any:
        """Takes weights of any shape and returns them without negative ones."""
        return ops.maximum(w, 0)

    def get_config(self) -> dict[str, Any]:
        """There are no constructor arguments."""
        return {}
