"""Softplus, with a gradient of its own."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


# Not named softplus: Keras would save it as its own function of that name.
def stable_softplus(inputs: Any) -> Any:
    """Softplus, `log(1 + exp(x))`, exact and finite for every finite input, and so is its gradient, the sigmoid."""
    return ops.custom_gradient(_value_and_gradient)(ops.convert_to_tensor(inputs))


keras.saving.register_keras_serializable(package="gradloom")(stable_softplus)


def _value_and_gradient(inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
    # exp of nothing above 0 cannot overflow; differentiated as it stands, the formula would give 0 and not 1/2 at 0.
    value = ops.maximum(inputs, 0) + ops.log1p(ops.exp(-ops.abs(inputs)))
    return value, lambda upstream: upstream * ops.sigmoid(inputs)
