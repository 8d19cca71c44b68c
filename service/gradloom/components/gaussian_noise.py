"""Noise that is there while training alone."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class GaussianNoise(keras.layers.Layer):
    """Adds normally distributed noise of mean 0 to its inputs while training; otherwise passes them on.

    Args:
        stddev: Float, standard deviation of the noise; at least 0.
        seed: Integer, of the layer's own random numbers; by default drawn from Keras's.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not (math.isfinite(stddev) and stddev >= 0):
            raise ValueError(f"stddev must be at least 0 and finite; got {stddev}")
        self.stddev = float(stddev)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Takes [b, ...] and returns the same shape in the layer's compute dtype."""
        if not training:
            return inputs
        noise = keras.random.normal(ops.shape(inputs), 0.0, self.stddev, self.compute_dtype, self.seed_generator)
        return inputs + noise

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}
