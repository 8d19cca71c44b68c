"""A linear model and a deep one, trained together."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from gradloom.components.dense import Dense
from gradloom.components.linear import Linear
from gradloom.components.standardize import Standardize


@keras.saving.register_keras_serializable(package="gradloom")
class WideAndDeep(keras.Model):
    """Adds a linear model of some columns to a deep network of others: one remembers, the other generalizes.

    Variables lie below `wide` and below `deep_0`, `deep_1`, ..., `deep_prediction`, so that two groups (`wide/**`,
    `deep_*/**`) give each part its own optimizer: Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016,
    train the wide part with Ftrl and the deep part with Adagrad.

    Args:
        units: Integer, numbers that each example gives; at least 1.
        wide_columns: List of integers, the columns of the wide part, from 0; by default all.
        deep_columns: List of integers, the columns of the deep part, from 0; by default all.
        hidden_units: List of integers, how wide each hidden layer of the deep part is.
        activation: Activation of the hidden layers.
        output_activation: Activation of the output.
        standardize: Boolean, whether the inputs pass a `Standardize` first.
    """

    def __init__(
        self,
        units: int = 1,
        wide_columns: Sequence[int] | None = None,
        deep_columns: Sequence[int] | None = None,
        hidden_units: Sequence[int] = (30, 30),
        activation: Any = "relu",
        output_activation: Any = None,
        standardize: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.wide_columns = None if wide_columns is None else tuple(wide_columns)
        self.deep_columns = None if deep_columns is None else tuple(deep_columns)
        self.hidden_units = tuple(hidden_units)
        self.activation = keras.activations.get(activation)
        self.output_activation = keras.activations.get(output_activation)
        self.standardize = standardize
        dtype = self.dtype_policy
        flatten = Standardize if standardize else keras.layers.Flatten
        self.features = flatten(name="features", dtype=dtype)
        self.wide = Linear(units, name="wide", dtype=dtype)
        self.deep = [
            Dense(width, self.activation, name=f"deep_{index}", dtype=dtype)
            for index, width in enumerate(self.hidden_units)
        ]
        # The wide part has the bias.
        self.deep_prediction = Linear(units, use_bias=False, name="deep_prediction", dtype=dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables of every layer."""
        self.features.build(input_shape)
        rows, columns = self.features.compute_output_shape(input_shape)
        for name in ("wide_columns", "deep_columns"):
            chosen = getattr(self, name)
            if chosen is not None and (not chosen or not all(0 <= column < columns for column in chosen)):
                raise ValueError(f"{name} must name columns of 0 to {columns - 1}; got {list(chosen)}")
        self.wide.build((rows, columns if self.wide_columns is None else len(self.wide_columns)))
        shape: tuple[int | None, ...] = (rows, columns if self.deep_columns is None else len(self.deep_columns))
        for layer in (*self.deep, self.deep_prediction):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, inputs: Any) -> Any:
        """Takes [b, ...] and returns [b, units] in the compute dtype."""
        features = self.features(inputs)
        values = _columns(features, self.deep_columns)
        for layer in self.deep:
            values = layer(values)
        linear = self.wide(_columns(features, self.wide_columns))
        return self.output_activation(linear + self.deep_prediction(values))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "wide_columns": None if self.wide_columns is None else list(self.wide_columns),
            "deep_columns": None if self.deep_columns is None else list(self.deep_columns),
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "output_activation": keras.activations.serialize(self.output_activation),
            "standardize": self.standardize,
        }


def _columns(features: Any, chosen: Sequence[int] | None) -> Any:
    return features if chosen is None else ops.take(features, list(chosen), axis=-1)
