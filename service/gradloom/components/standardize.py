"""Features brought to one scale, by statistics that training keeps."""

import math
from typing import Any

import keras
from keras import ops

from gradloom.components.replicas import summed_over_replicas


@keras.saving.register_keras_serializable(package="gradloom")
class Standardize(keras.layers.Layer):
    """Flattens each example and brings each number in it to mean 0 and variance 1 over the examples trained on so far.

    After the first epoch mean and variance are exactly those of the training data, whatever the number of replicas;
    before anything was trained on, inputs pass as they are. The sums behind them are kept in float64. While an epoch
    with gradient accumulation runs, a micro-batch sees those before it in its step, and none after it.

    Args:
        epsilon: Float, added to the variance; above 0.
    """

    sums_over_replicas = True

    def __init__(self, epsilon: float = 1e-7, **kwargs: Any):
        super().__init__(**kwargs)
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise ValueError(f"epsilon must be above 0 and finite; got {epsilon}")
        self.epsilon = float(epsilon)
        self.count: Any = None
        self.total: Any = None
        self.squares: Any = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the sums."""
        size = self.compute_output_shape(input_shape)[-1]
        self.count, self.total, self.squares = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer="zeros",
                dtype="float64",
                autocast=False,
                trainable=False,
            )
            for name, shape in (("count", ()), ("total", (size,)), ("squares", (size,)))
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Takes [b, ...] and returns [b, size] in the layer's compute dtype."""
        size = self.total.shape[0]
        values = ops.reshape(inputs, (-1, size))
        if training:
            self._add(ops.cast(values, "float64"))
        seen = ops.maximum(self.count, 1.0)
        mean = self.total / seen
        variance = ops.where(self.count > 0, ops.maximum(self.squares / seen - ops.square(mean), 0.0), 1.0)
        wide = keras.backend.result_type(values.dtype, "float32")
        scale = ops.cast(ops.rsqrt(variance + self.epsilon), wide)
        return ops.cast((ops.cast(values, wide) - ops.cast(mean, wide)) * scale, self.compute_dtype)

    def _add(self, rows: Any) -> None:
        own = [ops.cast(ops.shape(rows)[0], "float64"), ops.sum(rows, axis=0), ops.sum(ops.square(rows), axis=0)]
        for variable, added in zip((self.count, self.total, self.squares), summed_over_replicas(own), strict=True):
            variable.assign_add(added)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """All numbers of an example on one axis."""
        rows, *sizes = input_shape
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            raise ValueError(f"all axes but the first must be known; got the shape {input_shape}")
        return rows, math.prod(known)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "epsilon": self.epsilon}
