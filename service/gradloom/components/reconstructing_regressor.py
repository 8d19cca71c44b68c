"""A regressor that must also be able to rebuild its inputs."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from gradloom.components.dense import Dense
from gradloom.components.standardize import Standardize


@keras.saving.register_keras_serializable(package="gradloom")
class ReconstructingRegressor(keras.Model):
    """A dense network that adds a loss for how badly its last hidden layer tells the inputs, against forgetting them.

    The loss is `reconstruction_weight` times the mean squared error of the rebuilt inputs; the error itself, without
    its weight, is a streaming metric of the model's own, `reconstruction_error`. Variables lie below `hidden_0`,
    `hidden_1`, ..., `reconstruction` and `prediction`.

    Args:
        units: Integer, numbers that each example gives; at least 1.
        hidden_units: List of integers, how wide each hidden layer is; at least one.
        activation: Activation of the hidden layers.
        reconstruction_weight: Float, factor of the loss that is added; at least 0.
        standardize: Boolean, whether the inputs pass a `Standardize` first; what comes out of it is rebuilt.
    """

    def __init__(
        self,
        units: int = 1,
        hidden_units: Sequence[int] = (30, 30, 30, 30, 30),
        activation: Any = "selu",
        reconstruction_weight: float = 0.05,
        standardize: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not hidden_units:
            raise ValueError("hidden_units must name a layer at least")
        if not (math.isfinite(reconstruction_weight) and reconstruction_weight >= 0):
            raise ValueError(f"reconstruction_weight must be at least 0 and finite; got {reconstruction_weight}")
        self.units = units
        self.hidden_units = tuple(hidden_units)
        self.activation = keras.activations.get(activation)
        self.reconstruction_weight = float(reconstruction_weight)
        self.standardize = standardize
        dtype = self.dtype_policy
        flatten = Standardize if standardize else keras.layers.Flatten
        self.features = flatten(name="features", dtype=dtype)
        self.hidden = [
            Dense(width, self.activation, kernel_initializer="lecun_normal", name=f"hidden_{index}", dtype=dtype)
            for index, width in enumerate(self.hidden_units)
        ]
        self.prediction = Dense(units, name="prediction", dtype=dtype)
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of every layer."""
        shape = input_shape
        for layer in (self.features, *self.hidden):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.prediction.build(shape)
        size = self.features.compute_output_shape(input_shape)[-1]
        self.reconstruction = Dense(size, name="reconstruction", dtype=self.dtype_policy)
        self.reconstruction.build(shape)

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns [b, units] in the compute dtype."""
        features = self.features(inputs)
        values = features
        for layer in self.hidden:
            values = layer(values)
        # At least float32: the mean of many float16 squares is poor.
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        difference = ops.cast(self.reconstruction(values), wide) - ops.cast(features, wide)
        errors = ops.mean(ops.square(difference), axis=-1)
        self.add_loss(self.reconstruction_weight * ops.mean(errors))
        self.reconstruction_error.update_state(errors)
        return self.prediction(values)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "reconstruction_weight": self.reconstruction_weight,
            "standardize": self.standardize,
        }
