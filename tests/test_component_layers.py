"""Our own layers against NumPy and Keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom import components
from gradloom.components import (
    ActivityRegularization,
    ComputeSum,
    Dense,
    Exponential,
    GaussianNoise,
    Linear,
    MultiLayer,
    ResidualBlock,
    Standardize,
)

CHANCE = np.random.default_rng(23)
DTYPES = {"float32": 1e-6, "float64": 1e-14}


def rows(*shape: int) -> np.ndarray:
    return CHANCE.normal(size=shape)


def twins(ours: keras.Layer, theirs: keras.Layer, shape: tuple[int, ...]) -> None:
    """Gives both layers the same weights, none of them 0."""
    ours.build(shape)
    theirs.build(shape)
    weights = [rows(*weight.shape) for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5)])
def test_linear_is_a_product_and_a_sum(shape: tuple[int, ...], dtype: str) -> None:
    layer = Linear(3, dtype=dtype)
    layer.build(shape)
    kernel, bias = rows(5, 3), rows(3)
    layer.set_weights([kernel, bias])
    inputs = rows(*shape)
    outputs = layer(inputs)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(outputs, inputs @ kernel + bias, atol=DTYPES[dtype] * 10)
    assert layer.compute_output_shape(shape) == (*shape[:-1], 3)


@pytest.mark.parametrize("config", [{}, {"activation": "relu"}, {"activation": "softmax", "use_bias": False}])
def test_dense_agrees_with_keras_in_value_and_gradient(config: dict[str, Any]) -> None:
    ours, theirs = Dense(4, dtype="float64", **config), keras.layers.Dense(4, dtype="float64", **config)
    twins(ours, theirs, (None, 5))
    inputs, weighting = tf.constant(rows(7, 5)), rows(7, 4)
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs * weighting)
        found.append([outputs, *tape.gradient(loss, [variable.value for variable in layer.trainable_variables])])
    for own, other in zip(*found, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-12)


def test_dense_hands_regularizers_constraints_and_initializers_to_its_weights() -> None:
    layer = Dense(2, kernel_regularizer="l2", bias_constraint="non_neg", bias_initializer="ones")
    layer.build((None, 3))
    assert float(layer.losses[0]) == pytest.approx(0.01 * np.square(layer.get_weights()[0]).sum(), rel=1e-6)
    assert layer.bias.constraint is layer.bias_constraint
    np.testing.assert_array_equal(layer.bias, [1, 1])


def test_exponential_raises_e_to_its_inputs() -> None:
    inputs = rows(4, 3)
    np.testing.assert_allclose(Exponential(dtype="float64")(inputs), np.exp(inputs), rtol=1e-14)


def test_multi_layer_gives_sum_product_and_ratio() -> None:
    first, second = rows(5, 3), rows(5, 3)
    second[0, 0] = 0
    found = MultiLayer(dtype="float64")([first, second])
    ratio = np.divide(first, second, out=np.zeros_like(first), where=second != 0)
    for own, expected in zip(found, (first + second, first * second, ratio), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-14)
    symbolic = MultiLayer()([keras.Input((3,)), keras.Input((3,))])
    assert [tensor.shape for tensor in symbolic] == [(None, 3)] * 3


@pytest.mark.parametrize("inputs", [rows(5, 3), [rows(5, 3)], [rows(5, 3), rows(5, 2)]])
def test_multi_layer_refuses_anything_but_two_inputs_of_one_shape(inputs: Any) -> None:
    with pytest.raises(ValueError, match=r"two inputs|one shape"):
        MultiLayer()(inputs)


def test_gaussian_noise_is_there_while_training_alone_and_is_that_of_keras() -> None:
    inputs = rows(2000, 5).astype("float32")
    ours, theirs = GaussianNoise(0.5, seed=7), keras.layers.GaussianNoise(0.5, seed=7)
    for training in (False, True, True):
        np.testing.assert_array_equal(ours(inputs, training=training), theirs(inputs, training=training))
    np.testing.assert_array_equal(ours(inputs), inputs)
    noise = np.array(ours(inputs, training=True)) - inputs
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_residual_block_adds_its_inputs_to_what_its_layers_make_of_them(dtype: str) -> None:
    block = ResidualBlock(4, depth=3, activation="tanh", dtype=dtype, name="block")
    inputs = rows(6, 4)
    block.build(inputs.shape)
    values = inputs.astype(dtype)
    for layer in block.hidden:
        values = np.tanh(values @ layer.kernel.numpy() + layer.bias.numpy())
    np.testing.assert_allclose(block(inputs), inputs + values, atol=DTYPES[dtype] * 10)
    assert [variable.path for variable in block.variables] == [
        f"block/hidden_{index}/{name}" for index in range(3) for name in ("kernel", "bias")
    ]
    kernels = [layer.kernel.numpy() for layer in block.hidden]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_a_residual_block_refuses_inputs_of_another_width() -> None:
    with pytest.raises(ValueError, match="as wide as the block, 4"):
        ResidualBlock(4)(rows(6, 5))


def test_activity_regularization_divides_by_the_examples_as_keras_does_or_adds_up() -> None:
    inputs = rows(6, 3, 2).astype("float32")
    sums = 0.3 * np.abs(inputs).sum() + 0.2 * np.square(inputs).sum()
    for reduction, expected in (("mean", sums / 6), ("sum", sums)):
        layer = ActivityRegularization(0.3, 0.2, reduction)
        np.testing.assert_array_equal(layer(inputs), inputs)
        assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-6)
    theirs = keras.layers.ActivityRegularization(0.3, 0.2)
    theirs(inputs)
    assert float(theirs.losses[0]) == pytest.approx(sums / 6, rel=1e-6)


def test_activity_regularization_does_not_overflow_in_float16() -> None:
    layer = ActivityRegularization(l2=1.0, reduction="sum", dtype="float16")
    layer(np.full((100, 100), 100.0))
    assert float(layer.losses[0]) == 1e8


def test_compute_sum_adds_up_what_it_is_trained_on() -> None:
    layer = ComputeSum()
    first, second = rows(5, 3, 2).astype("float32"), rows(8, 3, 2).astype("float32")
    for inputs in (first, second):
        np.testing.assert_array_equal(layer(inputs, training=True), inputs)
        layer(inputs, training=False)
    np.testing.assert_allclose(layer.total, first.sum(0, "float64") + second.sum(0, "float64"), rtol=1e-14)
    assert layer.trainable_variables == []


@pytest.mark.parametrize("dtype", ["float16", *DTYPES])
def test_standardize_knows_mean_and_variance_of_all_it_was_trained_on(dtype: str) -> None:
    layer = Standardize(dtype=dtype)
    data = CHANCE.normal([[5, -3], [0.5, 200]], [[1, 2], [0.01, 50]], (40, 2, 2)).astype("float16")
    data[:, 0, 0] = 7
    np.testing.assert_allclose(layer(data), data.reshape(40, 4), rtol=1e-3)
    for begin, end in ((0, 7), (7, 30), (30, 40)):
        layer(data[begin:end], training=True)
    flat = data.reshape(40, 4).astype("float64")
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-7)
    outputs = layer(data)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(outputs, expected, atol={"float16": 4e-3, "float32": 1e-4, "float64": 1e-10}[dtype])


@pytest.mark.parametrize(
    "layer",
    [Linear(2), Dense(2), Exponential(), GaussianNoise(0.1), ResidualBlock(3), ActivityRegularization(), ComputeSum()],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_of_one_input_passes_a_mask_on(layer: keras.Layer) -> None:
    inputs = keras.layers.Masking()(np.array([[[1.0, 2, 3], [0, 0, 0]]]))
    np.testing.assert_array_equal(layer(inputs)._keras_mask, [[True, False]])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize(
    "layer",
    [
        *((components.Linear, {"units": 2}), (components.Dense, {"units": 2}), (components.Exponential, {})),
        *((components.GaussianNoise, {"stddev": 0.1}), (components.ResidualBlock, {"units": 3})),
        *((components.ActivityRegularization, {"l1": 0.1}), (components.ComputeSum, {}), (components.Standardize, {})),
        (components.LayerNormalization, {}),
    ],
    ids=lambda layer: layer[0].__name__,
)
def test_a_layer_computes_in_the_dtype_of_its_policy_and_keeps_weights_in_its_own(
    layer: tuple[type, dict[str, Any]], policy: str
) -> None:
    kind, config = layer
    made = kind(dtype=policy, **config)
    outputs = made(rows(4, 3), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == keras.DTypePolicy(policy).compute_dtype
    weights = {str(variable.dtype) for variable in made.trainable_variables}
    assert weights <= {keras.DTypePolicy(policy).variable_dtype}


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Linear(0), "units must be a whole number"),
        (lambda: Dense(1.5), "units must be a whole number"),
        (lambda: ResidualBlock(3, depth=0), "depth must be a whole number"),
        (lambda: GaussianNoise(-1), "stddev must be at least 0"),
        (lambda: ActivityRegularization(l1=-1), "l1 must be at least 0"),
        (lambda: ActivityRegularization(l2=float("inf")), "l2 must be at least 0"),
        (lambda: ActivityRegularization(reduction="max"), "reduction must be mean or sum"),
        (lambda: Standardize(epsilon=0), "epsilon must be above 0"),
        (lambda: Standardize().build((None, None, 3)), "all axes but the first must be known"),
        (lambda: ComputeSum().build((None, None)), "all axes but the first must be known"),
        (lambda: Linear(1).build((4, None)), "the last axis of the input must be known"),
    ],
)
def test_a_layer_refuses_what_it_cannot_be(make: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()
