"""A densely connected layer."""

from typing import Any

import keras

from gradloom.components.linear import Linear


@keras.saving.register_keras_serializable(package="gradloom")
class Dense(Linear):
    """A linear layer with an activation after it: `activation(inputs @ kernel + bias)`.

    Args:
        units: Integer, how long the last axis of the output is; at least 1.
        activation: Activation; by default none.
        use_bias: Boolean, whether there is a vector to add.
        kernel_initializer: Initializer of the matrix [size, units].
        bias_initializer: Initializer of the vector [units].
        kernel_regularizer: Regularizer of the matrix.
        bias_regularizer: Regularizer of the vector.
        kernel_constraint: Constraint of the matrix.
        bias_constraint: Constraint of the vector.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            units,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )
        self.activation = keras.activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """Takes [b, ..., size] and returns [b, ..., units] in the layer's compute dtype."""
        return self.activation(super().call(inputs))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
