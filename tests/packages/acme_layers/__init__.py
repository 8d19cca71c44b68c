"""A team's own components, one of each kind that a team writes most."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="acme")
def gelu_ish(inputs):
    """A cheap GELU."""
    return inputs * ops.sigmoid(1.702 * inputs)


@keras.saving.register_keras_serializable(package="acme")
class Orthant(keras.constraints.Constraint):
    """Weights at least `floor`."""

    def __init__(self, floor=0.0):
        self.floor = floor

    def __call__(self, weights):
        return ops.maximum(weights, self.floor)

    def get_config(self):
        return {"floor": self.floor}


@keras.saving.register_keras_serializable(package="acme")
class Scale(keras.layers.Layer):
    """Multiplies by one trainable number.

    Args:
        initial: Float, the number's first value.
    """

    def __init__(self, initial=1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        self.factor = self.add_weight(
            name="factor", shape=(), initializer=keras.initializers.Constant(self.initial), trainable=True
        )

    def call(self, inputs):
        return inputs * self.factor

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable(package="acme")
class Stack(keras.layers.Layer):
    """Calls layers that are held in a Python list, one after the other."""

    def __init__(self, blocks=(), **kwargs):
        super().__init__(**kwargs)
        self.blocks = list(blocks)

    def build(self, input_shape):
        for block in self.blocks:
            # One that was loaded from a file is built already.
            if not block.built:
                block.build(input_shape)
            input_shape = block.compute_output_shape(input_shape)

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return inputs

    def compute_output_shape(self, input_shape):
        for block in self.blocks:
            input_shape = block.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        blocks = [keras.saving.serialize_keras_object(block) for block in self.blocks]
        return {**super().get_config(), "blocks": blocks}

    @classmethod
    def from_config(cls, config):
        blocks = [keras.saving.deserialize_keras_object(block) for block in config.pop("blocks")]
        return cls(blocks=blocks, **config)


@keras.saving.register_keras_serializable(package="acme")
class CappedError(keras.losses.Loss):
    """The squared error, but no more than `cap`."""

    def __init__(self, cap=4.0, **kwargs):
        super().__init__(**kwargs)
        self.cap = cap

    def call(self, y_true, y_pred):
        return ops.mean(ops.minimum(ops.square(y_true - y_pred), self.cap), axis=-1)

    def get_config(self):
        return {**super().get_config(), "cap": self.cap}


@keras.saving.register_keras_serializable(package="acme")
class LargestError(keras.metrics.Metric):
    """The largest absolute error of an epoch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.largest = self.add_weight(name="largest", shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = ops.max(ops.abs(ops.cast(y_true, y_pred.dtype) - y_pred))
        self.largest.assign(ops.maximum(self.largest, error))

    def result(self):
        return self.largest


@keras.saving.register_keras_serializable(package="acme")
class Tower(keras.Model):
    """Dense layers of one width and a last one of `units`."""

    def __init__(self, units=1, width=8, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.units, self.width, self.depth = units, width, depth
        self.flatten = keras.layers.Flatten()
        self.hidden = [keras.layers.Dense(width, activation=gelu_ish, name=f"hidden_{i}") for i in range(depth)]
        self.last = keras.layers.Dense(units, name="last")

    def call(self, inputs):
        values = self.flatten(inputs)
        for layer in self.hidden:
            values = layer(values)
        return self.last(values)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "width": self.width, "depth": self.depth}
