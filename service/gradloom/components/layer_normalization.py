"""A layer normalization of our own, equal to Keras's."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class LayerNormalization(keras.layers.Layer):
    """Normalizes each example to mean 0 and variance 1 over its last axis, then applies a trainable scale and offset.

    Divides by `sqrt(variance + epsilon)`, as `keras.layers.LayerNormalization` does. Textbooks divide by
    `deviation + epsilon` instead, which differs by about epsilon / 2 where the deviation is near 1.

    Args:
        epsilon: Float added to the variance.
        center: Boolean, whether there is a trainable offset, `beta`.
        scale: Boolean, whether there is a trainable scale, `gamma`.
        beta_initializer: Initializer of the offset.
        gamma_initializer: Initializer of the scale.
        beta_regularizer: Regularizer of the offset.
        gamma_regularizer: Regularizer of the scale.
        beta_constraint: Constraint of the offset.
        gamma_constraint: Constraint of the scale.
    """

    def __init__(
        self,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0; got {epsilon}")
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.supports_masking = True
        self.gamma = None
        self.beta = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the scale and the offset, each as long as the last axis."""
        size = input_shape[-1]
        if size is None:
            raise ValueError(f"the last axis of the input must be known; got the shape {input_shape}")
        if self.scale:
            self.gamma = self.add_weight(
                name="gamma",
                shape=(size,),
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                autocast=False,
            )
        if self.center:
            self.beta = self.add_weight(
                name="beta",
                shape=(size,),
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                autocast=False,
            )

    def call(self, inputs: Any) -> Any:
        """Takes [b, ..., size] and returns the same shape in the layer's compute dtype."""
        # At least float32: a float16 variance overflows at deviations over 256.
        wide = keras.backend.result_type(inputs.dtype, "float32")
        values = ops.cast(inputs, wide)
        mean, variance = ops.moments(values, axes=-1, keepdims=True)
        normalized = (values - mean) * ops.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            normalized = normalized * ops.cast(self.gamma, wide)
        if self.beta is not None:
            normalized = normalized + ops.cast(self.beta, wide)
        return ops.cast(normalized, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": keras.regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": keras.constraints.serialize(self.beta_constraint),
            "gamma_constraint": keras.constraints.serialize(self.gamma_constraint),
        }
