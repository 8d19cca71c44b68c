"""A deep dense network with ways around its blocks."""

from typing import Any

import keras

from gradloom.components.dense import Dense
from gradloom.components.residual_block import ResidualBlock
from gradloom.components.standardize import Standardize


@keras.saving.register_keras_serializable(package="gradloom")
class ResidualRegressor(keras.Model):
    """A dense layer, a residual block that is passed several times with the same weights, a second block, an output.

    Variables lie below `first`, `repeated/hidden_0`, ..., `once/hidden_0`, ... and `prediction`.

    Args:
        units: Integer, numbers that each example gives; at least 1.
        hidden_units: Integer, how wide the layers within are.
        depth: Integer, how many layers each block has.
        repeats: Integer, how many times an example passes the first block; at least 1.
        activation: Activation of the layers within.
        standardize: Boolean, whether the inputs pass a `Standardize` first.
    """

    def __init__(
        self,
        units: int = 1,
        hidden_units: int = 30,
        depth: int = 2,
        repeats: int = 4,
        activation: Any = "elu",
        standardize: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if repeats != int(repeats) or repeats < 1:
            raise ValueError(f"repeats must be a whole number of at least 1; got {repeats}")
        self.units = units
        self.hidden_units = hidden_units
        self.depth = depth
        self.repeats = int(repeats)
        self.activation = keras.activations.get(activation)
        self.standardize = standardize
        dtype = self.dtype_policy
        flatten = Standardize if standardize else keras.layers.Flatten
        self.features = flatten(name="features", dtype=dtype)
        self.first = Dense(hidden_units, self.activation, kernel_initializer="he_normal", name="first", dtype=dtype)
        self.repeated = ResidualBlock(hidden_units, depth, self.activation, name="repeated", dtype=dtype)
        self.once = ResidualBlock(hidden_units, depth, self.activation, name="once", dtype=dtype)
        self.prediction = Dense(units, name="prediction", dtype=dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of every layer."""
        self.features.build(input_shape)
        self.first.build(self.features.compute_output_shape(input_shape))
        for layer in (self.repeated, self.once, self.prediction):
            layer.build((input_shape[0], self.hidden_units))

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns [b, units] in the compute dtype."""
        values = self.first(self.features(inputs))
        for _ in range(self.repeats):
            values = self.repeated(values)
        return self.prediction(self.once(values))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
            "depth": self.depth,
            "repeats": self.repeats,
            "activation": keras.activations.serialize(self.activation),
            "standardize": self.standardize,
        }
