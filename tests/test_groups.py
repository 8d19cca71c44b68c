"""Variable groups against an oracle in NumPy: linear regression, whose gradients fit on a line."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.trainer import strategy
from gradloom.trainer.batches import permutation
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group, averages_in_place
from gradloom.trainer.loop import Training
from gradloom.trainer.step import NotFiniteError
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(3)
ARRAYS = Arrays(CHANCE.normal(size=(10, 3)).astype(np.float32), CHANCE.normal(size=(10, 1)).astype(np.float32))
BATCH = 4
SEED = 11
MIXED_FLOAT16 = spec_pb2.TrainingSpec.MIXED_FLOAT16


def train(
    optimizers,
    epochs=1,
    clip_norm=None,
    constraint=None,
    regularizer=None,
    strategy_=None,
    validation=None,
    dtype=None,
    arrays=ARRAYS,
    **options_,
):
    """Trains a linear model; `optimizers` holds (maker of the optimizer, group's options) for kernel and bias."""
    distribution = strategy_ or strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        layer = keras.layers.Dense(
            1, kernel_initializer="ones", kernel_constraint=constraint, kernel_regularizer=regularizer, dtype=dtype
        )
        model = keras.Sequential([keras.Input((3,)), layer], name="model")
        groups = [
            Group(name, (variable,), optimizer and optimizer(), **options)
            for name, variable, (optimizer, options) in zip(
                ("kernel", "bias"), layer.variables, optimizers, strict=True
            )
        ]
    options = spec_pb2.TrainingSpec(global_batch_size=BATCH, seed=SEED, **options_)
    if clip_norm is not None:
        options.clip_norm = clip_norm
    training = Training(
        model, [Target("", keras.losses.MeanSquaredError())], groups, options, arrays, validation, distribution
    )
    scalars = [training.run_epoch(epoch) for epoch in range(1, epochs + 1)]
    return layer.kernel.numpy(), layer.bias.numpy(), scalars, training


def oracle(update, epochs=1, kernel_penalty=0.0):
    """Follows the same batches; `update(step, kernel, bias, their gradients)` returns the new kernel and bias."""
    kernel, bias, step, losses = np.ones((3, 1)), np.zeros(1), 0, []
    for epoch in range(1, epochs + 1):
        order = permutation(len(ARRAYS), SEED, tf.constant(epoch)).numpy()
        weighted = 0.0
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            error = ARRAYS.features[rows] @ kernel + bias - ARRAYS.labels[rows]
            weighted += len(rows) * (np.mean(error**2) + kernel_penalty * np.sum(kernel**2))
            gradient = 2 * ARRAYS.features[rows].T @ error / len(rows) + 2 * kernel_penalty * kernel
            kernel, bias = update(step, kernel, bias, gradient, 2 * error.mean(axis=0))
            step += 1
        losses.append(weighted / len(order))
    return kernel, bias, losses


def sgd(rate):
    return partial(keras.optimizers.SGD, rate)


def assert_same(trained, expected):
    kernel, bias, scalars, _ = trained
    np.testing.assert_allclose(kernel, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([one["loss"] for one in scalars], expected[2], rtol=1e-5)


def test_each_group_follows_its_own_optimizer_and_the_last_smaller_batch_counts_once():
    expected = oracle(lambda step, kernel, bias, dk, db: (kernel - 0.1 * dk, bias - 0.02 * db), epochs=2)
    assert_same(train([(sgd(0.1), {}), (sgd(0.02), {})], epochs=2), expected)


def test_clip_norm_bounds_the_norm_of_the_groups_reduced_gradient():
    def update(step, kernel, bias, dk, db):
        return kernel - 0.1 * dk * min(1, 0.5 / np.linalg.norm(dk)), bias - 0.1 * db

    assert_same(train([(sgd(0.1), {"clip_norm": 0.5}), (sgd(0.1), {})]), oracle(update))


def test_clip_value_bounds_each_element():
    def update(step, kernel, bias, dk, db):
        return kernel - 0.1 * np.clip(dk, -0.3, 0.3), bias - 0.1 * db

    assert_same(train([(sgd(0.1), {"clip_value": 0.3}), (sgd(0.1), {})]), oracle(update))


def test_the_norm_over_all_groups_is_clipped_before_the_groups_own():
    def update(step, kernel, bias, dk, db):
        scale = min(1, 0.6 / np.sqrt(np.sum(dk**2) + np.sum(db**2)))
        return kernel - 0.1 * np.clip(scale * dk, -0.3, 0.3), bias - 0.1 * scale * db

    assert_same(train([(sgd(0.1), {"clip_value": 0.3}), (sgd(0.1), {})], clip_norm=0.6), oracle(update))


def test_a_frozen_group_keeps_its_values():
    expected = oracle(lambda step, kernel, bias, dk, db: (kernel, bias - 0.1 * db))
    trained = train([(None, {}), (sgd(0.1), {})])
    assert_same(trained, expected)
    assert set(trained[3].snapshot().groups) == {"bias"}


def test_a_schedule_counts_the_groups_updates():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    expected = oracle(
        lambda step, kernel, bias, dk, db: (kernel - 0.1 * 0.5 ** (step / 2) * dk, bias - 0.1 * db), epochs=2
    )
    trained = train([(sgd(schedule), {}), (sgd(0.1), {})], epochs=2)
    assert_same(trained, expected)
    assert trained[3].snapshot().groups["kernel"].learning_rate == pytest.approx(0.1 * 0.5**3)


def test_a_constraint_holds_after_every_update():
    def update(step, kernel, bias, dk, db):
        return np.maximum(kernel - 0.5 * dk, 0), bias - 0.1 * db

    trained = train([(sgd(0.5), {}), (sgd(0.1), {})], constraint=keras.constraints.NonNeg(), epochs=2)
    assert_same(trained, oracle(update, epochs=2))
    assert (trained[0] == 0).any()


def test_a_weight_regularizer_counts_once_in_gradient_and_loss():
    expected = oracle(lambda step, kernel, bias, dk, db: (kernel - 0.1 * dk, bias - 0.1 * db), kernel_penalty=0.05)
    assert_same(train([(sgd(0.1), {}), (sgd(0.1), {})], regularizer=keras.regularizers.L2(0.05)), expected)


def test_a_look_shows_norm_before_clipping_and_the_size_of_the_update():
    seen = {}

    def update(step, kernel, bias, dk, db):
        clipped = np.clip(dk, -0.3, 0.3)
        seen["norm"], seen["ratio"] = np.linalg.norm(dk), 0.1 * np.linalg.norm(clipped) / np.linalg.norm(kernel)
        return kernel - 0.1 * clipped, bias - 0.1 * db

    oracle(update)
    look = train([(sgd(0.1), {"clip_value": 0.3}), (sgd(0.1), {})])[3].snapshot().groups["kernel"]
    assert look.gradient_norm == pytest.approx(seen["norm"], rel=1e-4)
    assert look.update_ratio == pytest.approx(seen["ratio"], rel=1e-4)


def test_rare_updates_apply_the_mean_of_the_last_gradients_and_schedules_count_them():
    waiting = []

    def update(step, kernel, bias, dk, db):
        waiting.append(np.clip(dk, -0.3, 0.3))
        if len(waiting) == 4:
            applied = step // 4
            kernel = kernel - 0.1 * 0.5 ** (applied / 2) * np.mean(waiting, axis=0)
            waiting.clear()
        return kernel, bias - 0.1 * db

    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    # Three steps an epoch: what waits at an epoch's end goes on waiting.
    trained = train([(sgd(schedule), {"update_every_steps": 4, "clip_value": 0.3}), (sgd(0.1), {})], epochs=3)
    assert_same(trained, oracle(update, epochs=3))
    assert trained[3].groups[0].optimizer.iterations.numpy() == 2


def test_micro_batches_change_nothing():
    expected = oracle(lambda step, kernel, bias, dk, db: (kernel - 0.1 * dk, bias - 0.02 * db), epochs=2)
    # Four examples in three parts, and two in two.
    assert_same(train([(sgd(0.1), {}), (sgd(0.02), {})], epochs=2, gradient_accumulation_steps=3), expected)


def test_averages_are_validated_and_the_weights_trained_on():
    averages = []

    def update(step, kernel, bias, dk, db):
        kernel, bias = kernel - 0.1 * dk, bias - 0.1 * db
        averages.append(kernel if step == 0 else 0.8 * averages[-1] + 0.2 * kernel)
        return kernel, bias

    expected = oracle(update, epochs=2)
    trained = train([(sgd(0.1), {"ema_momentum": 0.8}), (sgd(0.1), {})], epochs=2, validation=ARRAYS)
    assert_same(trained, expected)
    kernel, bias, scalars, training = trained
    error = ARRAYS.features @ averages[-1] + bias - ARRAYS.labels
    assert scalars[-1]["val_loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    group, model = training.groups[0], training.model
    with averages_in_place(training.groups):
        np.testing.assert_allclose(model.trainable_variables[0].numpy(), averages[-1], rtol=1e-5)
    np.testing.assert_array_equal(model.trainable_variables[0].numpy(), kernel)
    assert "average/0" in group.saved_variables()


def test_before_its_first_update_a_group_is_evaluated_as_it_is():
    _, _, _, training = train([(sgd(0.1), {"ema_momentum": 0.8}), (sgd(0.1), {})], epochs=0)
    kernel = training.model.trainable_variables[0]
    kernel.assign(kernel + 1.0)
    with averages_in_place(training.groups):
        np.testing.assert_array_equal(kernel.numpy(), np.full((3, 1), 2.0))


def test_an_optimizer_that_averages_is_validated_with_its_averages():
    iterates = {"z": np.ones((3, 1)), "x": np.ones((3, 1)), "v": np.zeros((3, 1))}

    def update(step, kernel, bias, dk, db):
        # z takes the steps, x averages, the gradient is taken at y between them. Keras 3.15 finds the old x from the
        # old y and the new z.
        iterates["v"] = 0.999 * iterates["v"] + 0.001 * dk**2
        iterates["z"] = iterates["z"] - 0.1 * dk / (np.sqrt(iterates["v"] / (1 - 0.999 ** (step + 1))) + 1e-8)
        old = (kernel - 0.1 * iterates["z"]) / 0.9
        iterates["x"] = old + (iterates["z"] - old) / (step + 1)
        return 0.1 * iterates["z"] + 0.9 * iterates["x"], bias - 0.1 * db

    def schedule_free():
        return keras.optimizers.ScheduleFreeAdamW(0.1, warmup_steps=0, beta_1=0.9, beta_2=0.999, epsilon=1e-8)

    expected = oracle(update, epochs=2)
    trained = train([(schedule_free, {}), (sgd(0.1), {})], epochs=2)
    assert_same(trained, expected)
    with averages_in_place(trained[3].groups):
        averaged = trained[3].model.trainable_variables[0].numpy()
    np.testing.assert_allclose(averaged, iterates["x"], rtol=1e-4, atol=1e-5)


def test_a_group_is_frozen_until_its_epoch_regularizer_included():
    def update(step, kernel, bias, dk, db):
        penalty = 2 * 0.05 * kernel
        return (kernel if step < 3 else kernel - 0.1 * (dk + penalty)), bias - 0.1 * db

    seen = []

    def with_penalty(step, kernel, bias, dk, db):
        seen.append(0.05 * np.sum(kernel**2) if step >= 3 else 0.0)
        return update(step, kernel, bias, dk, db)

    expected = oracle(with_penalty, epochs=2)
    second = expected[2][1] + np.average(seen[3:], weights=(4, 4, 2))
    trained = train(
        [(sgd(0.1), {"unfreeze_at_epoch": 2}), (sgd(0.1), {})], regularizer=keras.regularizers.L2(0.05), epochs=2
    )
    assert_same(trained, (*expected[:2], [expected[2][0], second]))
    assert trained[3].groups[0].optimizer.iterations.numpy() == 3


def test_a_transformation_comes_before_the_clipping():
    def double(gradients, variables):
        assert [variable.name for variable in variables] == ["kernel"]
        return [2 * gradient for gradient in gradients]

    def update(step, kernel, bias, dk, db):
        return kernel - 0.1 * np.clip(2 * dk, -0.3, 0.3), bias - 0.1 * db

    options = {"transformations": (double,), "clip_value": 0.3}
    assert_same(train([(sgd(0.1), options), (sgd(0.1), {})]), oracle(update))


def test_a_learning_rate_that_is_set_holds_from_the_next_step():
    def update(step, kernel, bias, dk, db):
        return kernel - (0.1 if step < 3 else 0.01) * dk, bias - 0.1 * db

    _, _, scalars, training = train([(sgd(0.1), {}), (sgd(0.1), {})])
    training.groups[0].set_learning_rate(0.01)
    assert training.groups[0].learning_rate() == pytest.approx(0.01)
    scalars.append(training.run_epoch(2))
    kernel, bias = training.model.trainable_variables
    assert_same((kernel.numpy(), bias.numpy(), scalars, training), oracle(update, epochs=2))


def test_the_first_gradient_that_is_not_finite_ends_the_training_in_its_step():
    def blow_up(gradients, variables):
        return [gradient * 1e30 for gradient in gradients]

    optimizers = [(sgd(1e30), {"transformations": (blow_up,)}), (sgd(0.1), {})]
    # The weights leave the range of float32 in the first step, the gradients of the second are lost.
    with pytest.raises(NotFiniteError, match=r"group 'kernel': its gradient, as the loss, is not finite at step 2$"):
        train(optimizers, epochs=2)


def test_frozen_batch_normalization_infers_until_it_is_trained():
    distribution = strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        norm = keras.layers.BatchNormalization(momentum=0.5)
        model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(1)], name="model")
        groups = [
            Group("norm", tuple(norm.trainable_variables), keras.optimizers.SGD(0.1), unfreeze_at_epoch=2),
            Group("head", tuple(model.layers[-1].variables), keras.optimizers.SGD(0.1)),
        ]
    options = spec_pb2.TrainingSpec(global_batch_size=len(ARRAYS), seed=SEED)
    training = Training(
        model, [Target("", keras.losses.MeanSquaredError())], groups, options, ARRAYS, None, distribution
    )
    kernel = model.layers[-1].kernel.numpy()
    expected = np.mean((ARRAYS.features / np.sqrt(1 + norm.epsilon) @ kernel - ARRAYS.labels) ** 2)
    assert training.run_epoch(1)["loss"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(3))
    assert norm.trainable
    training.run_epoch(2)
    np.testing.assert_allclose(norm.moving_mean, 0.5 * ARRAYS.features.mean(axis=0), rtol=1e-4)


def test_in_float16_an_overflow_in_one_group_skips_all_of_them_and_halves_the_scale():
    scales = [2.0**15]

    def update(step, kernel, bias, dk, db):
        # The largest float16 is 65,504.
        if max(np.abs(dk).max(), np.abs(db).max()) * scales[-1] > 65504:
            scales.append(scales[-1] / 2)
            return kernel, bias
        return kernel - 0.01 * dk, bias - 0.01 * db

    expected = oracle(update, epochs=4)
    kernel, bias, _, training = train(
        [(sgd(0.01), {}), (sgd(0.01), {})], epochs=4, dtype="mixed_float16", precision=MIXED_FLOAT16
    )
    np.testing.assert_allclose(kernel, expected[0], rtol=0.01)
    np.testing.assert_allclose(bias, expected[1], rtol=0.05)
    skipped = len(scales) - 1
    assert skipped > 1
    assert [group.optimizer.iterations.numpy() for group in training.groups] == [12 - skipped] * 2
    assert training.loss_scale.value() == scales[-1]


def test_float16_gives_up_when_no_scale_is_small_enough():
    arrays = Arrays(np.full_like(ARRAYS.features, np.inf), ARRAYS.labels)
    with pytest.raises(NotFiniteError, match=r"at step 16$"):
        train(
            [(sgd(0.01), {}), (sgd(0.01), {})], epochs=9, dtype="mixed_float16", precision=MIXED_FLOAT16, arrays=arrays
        )
