"""A linear layer."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class Linear(keras.layers.Layer):
    """Multiplies the last axis by a trainable matrix and adds a trainable vector: `inputs @ kernel + bias`.

    Args:
        units: Integer, how long the last axis of the output is; at least 1.
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
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if units != int(units) or units < 1:
            raise ValueError(f"units must be a whole number of at least 1; got {units}")
        self.units = int(units)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True
        self.kernel = None
        self.bias = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the matrix and the vector."""
        size = input_shape[-1]
        if size is None:
            raise ValueError(f"the last axis of the input must be known; got the shape {input_shape}")
        self.kernel = self.add_weight(
            name="kernel",
            shape=(size, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def call(self, inputs: Any) -> Any:
        """Takes [b, ..., size] and returns [b, ..., units] in the layer's compute dtype."""
        outputs = ops.matmul(inputs, self.kernel)
        return outputs if self.bias is None else ops.add(outputs, self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input but for the last axis, which is `units` long."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }
