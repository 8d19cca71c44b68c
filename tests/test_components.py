"""Our own Keras objects: what they keep in files, and our LayerNormalization against Keras's."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from gradloom import components
from gradloom.components import LayerNormalization

RNG = np.random.default_rng(5)
AWKWARD = 0.1 + 0.2
"""A number that a short decimal would not give back."""


def saved_model() -> keras.Model:
    """A model of all our layers, with our initializer, regularizer, constraint and activation in them."""
    inputs = keras.Input((5,))
    x = components.Standardize(epsilon=AWKWARD)(inputs)
    x = components.ComputeSum()(components.GaussianNoise(AWKWARD, seed=3)(x))
    x = components.Dense(
        4,
        activation=components.stable_softplus,
        kernel_initializer=components.GlorotNormal(seed=3),
        kernel_regularizer=components.L1(AWKWARD),
        bias_constraint=components.NonNegative(),
    )(x)
    x = components.ActivityRegularization(AWKWARD, AWKWARD / 3, "sum")(x)
    x = components.ResidualBlock(4, activation=components.stable_softplus)(x)
    mixed = components.MultiLayer()([x, components.Exponential()(components.Linear(4)(x))])
    outputs = LayerNormalization(epsilon=AWKWARD)(keras.layers.Concatenate()(list(mixed)))
    return keras.Model(inputs, outputs, name="m")


def test_a_keras_file_gives_every_object_back_to_the_last_bit(tmp_path: Path) -> None:
    model = saved_model()
    inputs = RNG.normal(size=(9, 5)).astype("float32")
    model.compile(
        components.AdaBelief(AWKWARD / 100, AWKWARD, epsilon=AWKWARD),
        components.Huber(AWKWARD),
        metrics=[components.HuberMetric(AWKWARD), components.Precision(AWKWARD)],
    )
    model.fit(inputs, RNG.normal(size=(9, 12)), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.to_json() == model.to_json()
    assert loaded.loss.threshold == AWKWARD
    for variable, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, other)


def trained_pair(size: int, **config: object) -> tuple[keras.Layer, keras.Layer]:
    """Ours and Keras's with the same scale and offset, which are neither ones nor zeros."""
    ours, theirs = LayerNormalization(**config), keras.layers.LayerNormalization(**config)
    ours.build((None, size))
    theirs.build((None, size))
    weights = [RNG.normal(size=weight.shape).astype("float32") for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


@pytest.mark.parametrize("shape", [(64, 128), (4, 7, 16), (2, 3, 5, 8)])
@pytest.mark.parametrize(
    "config", [{}, {"epsilon": 1e-6}, {"center": False}, {"scale": False}, {"center": False, "scale": False}]
)
def test_layer_normalization_agrees_with_keras(shape: tuple[int, ...], config: dict[str, object]) -> None:
    inputs = RNG.normal(size=shape).astype("float32")
    ours, theirs = trained_pair(shape[-1], **config)
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=1e-6, rtol=0)


def test_layer_normalization_normalizes_by_variance_plus_epsilon() -> None:
    inputs = RNG.normal(size=(8, 32)).astype("float64")
    expected = (inputs - inputs.mean(-1, keepdims=True)) / np.sqrt(inputs.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(LayerNormalization(dtype="float64")(inputs), expected, atol=1e-12)


def test_layer_normalization_trains_its_scale_and_its_offset() -> None:
    layer = LayerNormalization()
    layer.build((None, 4))
    assert [(v.name, v.shape) for v in layer.trainable_variables] == [("gamma", (4,)), ("beta", (4,))]


def test_layer_normalization_has_keras_gradients() -> None:
    import tensorflow as tf

    inputs = tf.constant(RNG.normal(size=(16, 8)).astype("float32"))
    weighting = tf.constant(RNG.normal(size=(16, 8)).astype("float32"))
    gradients = []
    for layer in trained_pair(8):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs) * weighting)
        gradients.append(tape.gradient(loss, [inputs, *[v.value for v in layer.trainable_variables]]))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_layer_normalization_survives_its_config_and_a_keras_file(tmp_path: Path) -> None:
    layer = LayerNormalization(epsilon=0.1, gamma_initializer="zeros", beta_regularizer="l2", name="norm")
    again = LayerNormalization.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config() == layer.get_config()
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(2)], name="m")
    model.save(tmp_path / "m.keras")
    inputs = RNG.normal(size=(3, 6)).astype("float32")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(inputs), model(inputs))


@pytest.mark.parametrize("epsilon", [0, -1, float("nan")])
def test_layer_normalization_refuses_an_epsilon_that_is_not_above_0(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must be above 0"):
        LayerNormalization(epsilon=epsilon)
