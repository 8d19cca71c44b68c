"""Variable groups against an oracle in NumPy: linear regression, whose gradients fit on a line."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.trainer import strategy
from gradloom.trainer.batches import permutation
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(3)
ARRAYS = Arrays(CHANCE.normal(size=(10, 3)).astype(np.float32), CHANCE.normal(size=(10, 1)).astype(np.float32))
BATCH = 4
SEED = 11


def train(optimizers, epochs=1, clip_norm=None, constraint=None, regularizer=None, strategy_=None):
    """Trains a linear model; `optimizers` holds (maker of the optimizer, group's options) for kernel and bias."""
    distribution = strategy_ or strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        layer = keras.layers.Dense(
            1, kernel_initializer="ones", kernel_constraint=constraint, kernel_regularizer=regularizer
        )
        model = keras.Sequential([keras.Input((3,)), layer], name="model")
        groups = [
            Group(name, (variable,), optimizer and optimizer(), **options)
            for name, variable, (optimizer, options) in zip(
                ("kernel", "bias"), layer.variables, optimizers, strict=True
            )
        ]
    options = spec_pb2.TrainingSpec(global_batch_size=BATCH, seed=SEED)
    if clip_norm is not None:
        options.clip_norm = clip_norm
    training = Training(model, keras.losses.MeanSquaredError(), [], groups, options, ARRAYS, None, distribution)
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
