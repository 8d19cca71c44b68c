"""Our losses, metrics, activation, initializer, regularizer, constraint and optimizer, against NumPy and Keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.components import (
    L1,
    AdaBelief,
    GlorotNormal,
    Huber,
    HuberMetric,
    NonNegative,
    Precision,
    cauchy,
    stable_softplus,
)

CHANCE = np.random.default_rng(17)


def pairs(*shape: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    return CHANCE.normal(0, 3, shape).astype(dtype), CHANCE.normal(0, 3, shape).astype(dtype)


def huber_of(error: np.ndarray, threshold: float) -> np.ndarray:
    error = np.abs(error)
    return np.where(error <= threshold, error**2 / 2, threshold * error - threshold**2 / 2)


@pytest.mark.parametrize("threshold", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huber_squares_errors_up_to_its_threshold(threshold: float, dtype: str) -> None:
    labels, outputs = pairs(9, 4, dtype=dtype)
    loss = Huber(threshold=threshold, dtype=dtype)
    expected = huber_of(labels - outputs, threshold).mean(axis=-1)
    np.testing.assert_allclose(loss.call(labels, outputs), expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    keras_huber = keras.losses.Huber(delta=threshold)
    np.testing.assert_allclose(loss(labels, outputs), keras_huber(labels, outputs), rtol=1e-6)


def test_huber_has_a_finite_gradient_at_errors_whose_square_overflows() -> None:
    outputs = tf.constant([1e30, -1e30, 0.5, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = tf.reduce_sum(Huber(threshold=2.0).call(tf.zeros(4), outputs))
    np.testing.assert_array_equal(tape.gradient(value, outputs), [2.0, -2.0, 0.5, 0.0])


@pytest.mark.parametrize("loss", [Huber().call, cauchy])
def test_a_label_is_compared_with_its_own_output_alone(loss: Any) -> None:
    labels, outputs = pairs(6, 1)
    np.testing.assert_array_equal(loss(labels[:, 0], outputs), loss(labels, outputs))
    assert loss(labels[:, 0], outputs[:, 0]).shape == (6,)
    for wrong in (labels[:3], np.tile(labels, 2), labels.T):
        with pytest.raises(ValueError, match="not of one shape"):
            loss(wrong, outputs)


def test_cauchy_is_a_plain_function_with_the_logarithm_of_the_squared_error() -> None:
    labels, outputs = pairs(5, 3, dtype="float64")
    np.testing.assert_allclose(cauchy(labels, outputs), np.log1p((labels - outputs) ** 2 / 2).mean(axis=-1), rtol=1e-14)


def streamed(metric: keras.metrics.Metric, labels: Any, outputs: Any, weights: Any = None) -> float:
    """The result over batches of uneven sizes, after a reset."""
    metric.update_state(labels, outputs)
    metric.reset_state()
    for begin, end in ((0, 1), (1, 8), (8, 20)):
        weight = None if weights is None else weights[begin:end]
        metric.update_state(labels[begin:end], outputs[begin:end], sample_weight=weight)
    return float(metric.result())


def test_the_huber_metric_is_the_mean_over_every_batch_since_the_reset() -> None:
    labels, outputs = pairs(20, 2)
    weights = CHANCE.uniform(0, 2, 20)
    losses = huber_of(labels - outputs, 1.5)
    assert float(HuberMetric().result()) == 0
    assert streamed(HuberMetric(1.5), labels, outputs) == pytest.approx(losses.mean(), rel=1e-5)
    expected = (losses.mean(axis=-1) * weights).sum() / weights.sum()
    assert streamed(HuberMetric(1.5), labels, outputs, weights) == pytest.approx(expected, rel=1e-5)


def test_precision_counts_over_all_batches_and_is_not_the_mean_of_theirs() -> None:
    labels, outputs = CHANCE.integers(0, 2, 20), CHANCE.uniform(0, 1, (20, 1)).astype("float32")
    weights = CHANCE.uniform(0, 2, 20)
    positive = outputs[:, 0] > 0.4
    expected = (positive & (labels == 1)).sum() / positive.sum()
    assert streamed(Precision(0.4), labels, outputs) == pytest.approx(expected)
    weighted = (weights * (positive & (labels == 1))).sum() / (weights * positive).sum()
    assert streamed(Precision(0.4), labels, outputs, weights) == pytest.approx(weighted, rel=1e-5)
    metric, first, second = Precision(), Precision(), Precision()
    first.update_state([0, 1, 1, 1, 0, 1, 0, 1], [1.0, 1, 0, 1, 0, 1, 0, 1])
    second.update_state([0, 1, 0, 0, 1, 0, 1, 1], [1.0, 0, 1, 1, 0, 0, 0, 0])
    metric.update_state([0, 1, 1, 1, 0, 1, 0, 1], [1.0, 1, 0, 1, 0, 1, 0, 1])
    metric.update_state([0, 1, 0, 0, 1, 0, 1, 1], [1.0, 0, 1, 1, 0, 0, 0, 0])
    assert (float(first.result()), float(second.result()), float(metric.result())) == pytest.approx((0.8, 0.0, 0.5))


def test_precision_agrees_with_keras_and_is_0_without_positives() -> None:
    labels, outputs = CHANCE.integers(0, 2, (50, 3)), CHANCE.uniform(0, 1, (50, 3)).astype("float32")
    ours, theirs = Precision(), keras.metrics.Precision()
    ours.update_state(labels, outputs)
    theirs.update_state(labels, outputs)
    assert float(ours.result()) == pytest.approx(float(theirs.result()))
    ours.reset_state()
    ours.update_state([1, 0], [0.1, 0.2])
    assert float(ours.result()) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softplus_and_its_gradient_are_exact_and_finite_far_from_0(dtype: str) -> None:
    values = np.array([-1000, -50, -5, -1, 0, 1, 5, 50, 1000], dtype)
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = stable_softplus(inputs)
    gradient = tape.gradient(outputs, inputs)
    wide = values.astype("float64")
    assert outputs.dtype == gradient.dtype == inputs.dtype
    exact = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-15}[dtype]
    np.testing.assert_allclose(outputs, np.logaddexp(0, wide), rtol=exact, atol=np.finfo(dtype).tiny)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-wide)), rtol=exact, atol=np.finfo(dtype).tiny)


def test_softplus_trains_within_a_layer_far_from_0_as_elsewhere() -> None:
    layer = keras.layers.Dense(1, activation=stable_softplus, kernel_initializer="ones")
    inputs = tf.constant([[-1000.0], [2.0], [1000.0]])
    layer.build(inputs.shape)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    gradient = tape.gradient(outputs, layer.kernel.value)
    np.testing.assert_allclose(outputs[:, 0], [0, np.logaddexp(0, 2), 1000], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[2 / (1 + np.exp(-2)) + 1000]], rtol=1e-6)
    assert layer.get_config()["activation"]["config"] == "gradloom>stable_softplus"


def test_the_gradient_of_softplus_has_a_gradient() -> None:
    inputs = tf.constant([-2.0, 0.0, 3.0], "float64")
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            outputs = stable_softplus(inputs)
        first = inner.gradient(outputs, inputs)
    sigmoid = 1 / (1 + np.exp(-inputs.numpy()))
    np.testing.assert_allclose(outer.gradient(first, inputs), sigmoid * (1 - sigmoid), rtol=1e-12)


@pytest.mark.parametrize(("shape", "units"), [((300, 100), 400), ((5, 5, 40, 60), 2500), ((2000,), 4000)])
def test_glorot_normal_has_the_variance_of_its_inputs_and_outputs(shape: tuple[int, ...], units: int) -> None:
    values = np.array(GlorotNormal(seed=3)(shape, "float64"))
    assert values.std() == pytest.approx(np.sqrt(2 / units), rel=0.05)
    assert abs(values.mean()) < 4 * np.sqrt(2 / units / values.size)
    # 5 percent of a normal distribution lie beyond 1.96 deviations; Keras's own is cut off at 2.
    assert (np.abs(values) > 1.96 * np.sqrt(2 / units)).mean() == pytest.approx(0.05, abs=0.02)
    assert np.abs(values).max() > 2.3 * np.sqrt(2 / units)


def test_glorot_normal_draws_the_same_with_a_seed_and_anew_without() -> None:
    seeded, free = GlorotNormal(seed=3), GlorotNormal()
    np.testing.assert_array_equal(seeded((4, 4)), seeded((4, 4)))
    assert np.abs(np.array(free((4, 4))) - np.array(free((4, 4)))).max() > 0.1
    keras.utils.set_random_seed(5)
    first = np.array(free((4, 4)))
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(free((4, 4)), first)


def test_l1_is_the_factor_times_the_absolute_sum() -> None:
    weights = CHANCE.normal(size=(6, 5))
    assert float(L1(0.03)(weights)) == pytest.approx(0.03 * np.abs(weights).sum(), rel=1e-14)
    layer = keras.layers.Dense(2, kernel_regularizer={"class_name": "gradloom>L1", "config": {"factor": 0.5}})
    layer.build((None, 3))
    assert float(layer.losses[0]) == pytest.approx(0.5 * np.abs(layer.get_weights()[0]).sum(), rel=1e-6)


def test_non_negative_sets_what_is_below_0_to_0() -> None:
    weights = CHANCE.normal(size=(6, 5))
    np.testing.assert_array_equal(NonNegative()(weights), np.maximum(weights, 0))
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_constraint=NonNegative())]
    )
    model.compile(keras.optimizers.SGD(0.5), "mse")
    inputs = CHANCE.normal(size=(40, 3)).astype("float32")
    model.fit(inputs, inputs @ np.array([[2.0], [-2.0], [1.0]]), epochs=4, verbose=0)
    kernel = model.layers[-1].kernel.numpy()[:, 0]
    assert kernel[1] == 0
    assert kernel[0] > 1


def ada_belief(weights: np.ndarray, gradients: np.ndarray, rate: float, decay: float) -> np.ndarray:
    """Algorithm 2 of the paper, beginning with weight decay as Keras applies it."""
    mean, deviation, w = np.zeros_like(weights), np.zeros_like(weights), weights.copy()
    for step, gradient in enumerate(gradients, start=1):
        w = w - rate * decay * w
        mean = 0.8 * mean + 0.2 * gradient
        deviation = 0.95 * deviation + 0.05 * (gradient - mean) ** 2 + 1e-8
        w = w - rate * (mean / (1 - 0.8**step)) / (np.sqrt(deviation / (1 - 0.95**step)) + 1e-8)
    return w


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_ada_belief_follows_the_paper(decay: float) -> None:
    weights, gradients = CHANCE.normal(size=(4, 3)), CHANCE.normal(0.5, 1, size=(30, 4, 3))
    variable = keras.Variable(weights, dtype="float64")
    optimizer = AdaBelief(0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-8, weight_decay=decay)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    # Keras keeps the learning rate and the decay in float32.
    expected = ada_belief(weights, gradients, float(np.float32(0.02)), float(np.float32(decay)))
    np.testing.assert_allclose(variable, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda value: Huber(threshold=value), "threshold must be above 0"),
        (lambda value: HuberMetric(threshold=value), "threshold must be above 0"),
        (lambda value: AdaBelief(epsilon=value), "epsilon must be above 0"),
        (lambda value: L1(factor=value - 1e-9), "factor must be at least 0"),
        (lambda value: AdaBelief(beta_1=value - 1e-9), "beta_1 must be at least 0"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_number_out_of_its_range_is_refused(make: Any, rule: str, value: float) -> None:
    with pytest.raises(ValueError, match=rule):
        make(value)
