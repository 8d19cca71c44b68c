"""Dense layers with a way around them."""

from typing import Any

import keras

from gradloom.components.dense import Dense


@keras.saving.register_keras_serializable(package="gradloom")
class ResidualBlock(keras.layers.Layer):
    """Adds its inputs to what a stack of dense layers makes of them.

    The layers are held in a Python list, `hidden`, and named `hidden_0`, `hidden_1`, ...; after He et al., "Deep
    Residual Learning for Image Recognition", CVPR 2016.

    Args:
        units: Integer, how wide the layers are; as wide as the input.
        depth: Integer, how many layers there are; at least 1.
        activation: Activation of each layer.
        kernel_initializer: Initializer of each layer's matrix.
    """

    def __init__(
        self, units: int, depth: int = 2, activation: Any = "elu", kernel_initializer: Any = "he_normal", **kwargs: Any
    ):
        super().__init__(**kwargs)
        if depth != int(depth) or depth < 1:
            raise ValueError(f"depth must be a whole number of at least 1; got {depth}")
        self.units = units
        self.depth = int(depth)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True
        self.hidden = [
            Dense(
                units,
                activation=self.activation,
                # An initializer that is shared would give each layer the same values.
                kernel_initializer=self.kernel_initializer.clone(),
                name=f"hidden_{index}",
                dtype=self.dtype_policy,
            )
            for index in range(self.depth)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of each layer."""
        if input_shape[-1] != self.units:
            raise ValueError(f"the input must be as wide as the block, {self.units}; got the shape {input_shape}")
        for layer in self.hidden:
            layer.build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Takes [b, ..., units] and returns the same shape in the layer's compute dtype."""
        values = inputs
        for layer in self.hidden:
            values = layer(values)
        return inputs + values

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "depth": self.depth,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
