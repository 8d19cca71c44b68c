"""A dense network whose hidden outputs are kept sparse."""

from collections.abc import Sequence
from typing import Any

import keras

from gradloom.components.activity_regularization import ActivityRegularization
from gradloom.components.linear import Linear
from gradloom.components.standardize import Standardize


@keras.saving.register_keras_serializable(package="gradloom")
class SparseMLP(keras.Model):
    """A stack of linear layers; what the hidden ones give out is pushed towards 0 by an L1 loss.

    Variables lie below `hidden_0`, `hidden_1`, ... and `prediction`.

    Args:
        units: Integer, numbers that each example gives; at least 1.
        hidden_units: List of integers, how wide each hidden layer is.
        activation: Activation of the hidden layers.
        output_activation: Activation of the output.
        sparsity: Float, factor of the sum of the absolute hidden outputs of one example, in the mean over examples.
        standardize: Boolean, whether the inputs pass a `Standardize` first.
    """

    def __init__(
        self,
        units: int = 1,
        hidden_units: Sequence[int] = (64, 64),
        activation: Any = "relu",
        output_activation: Any = None,
        sparsity: float = 1e-3,
        standardize: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.hidden_units = tuple(hidden_units)
        self.activation = keras.activations.get(activation)
        self.output_activation = keras.activations.get(output_activation)
        self.sparsity = float(sparsity)
        self.standardize = standardize
        dtype = self.dtype_policy
        flatten = Standardize if standardize else keras.layers.Flatten
        self.features = flatten(name="features", dtype=dtype)
        self.hidden = [
            Linear(width, name=f"hidden_{index}", dtype=dtype) for index, width in enumerate(self.hidden_units)
        ]
        self.penalties = [
            ActivityRegularization(l1=sparsity, name=f"sparsity_{index}", dtype=dtype)
            for index in range(len(self.hidden_units))
        ]
        self.prediction = Linear(units, name="prediction", dtype=dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of every layer."""
        shape = input_shape
        for layer in (self.features, *self.hidden, self.prediction):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns [b, units] in the compute dtype."""
        values = self.features(inputs)
        for layer, penalty in zip(self.hidden, self.penalties, strict=True):
            values = penalty(self.activation(layer(values)))
        return self.output_activation(self.prediction(values))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "output_activation": keras.activations.serialize(self.output_activation),
            "sparsity": self.sparsity,
            "standardize": self.standardize,
        }
