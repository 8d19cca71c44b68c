"""The fused kernels against Keras's own updates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.trainer import strategy
from gradloom.trainer.fused import update_of

optimizers = keras.optimizers
HALVING = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
WITH_KERNEL = {
    "SGD": lambda: optimizers.SGD(0.1),
    "SGD, momentum": lambda: optimizers.SGD(HALVING, momentum=0.9),
    "SGD, Nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda: optimizers.Adam(HALVING),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "Adamax": lambda: optimizers.Adamax(0.01),
    "Adadelta": lambda: optimizers.Adadelta(1.0),
    "Adagrad": lambda: optimizers.Adagrad(0.1),
    "RMSprop, momentum": lambda: optimizers.RMSprop(0.01, momentum=0.5),
    "RMSprop, centered": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "Ftrl": lambda: optimizers.Ftrl(
        0.1,
        l1_regularization_strength=0.01,
        l2_regularization_strength=0.02,
        l2_shrinkage_regularization_strength=0.03,
        beta=0.1,
    ),
}
WITHOUT_KERNEL = {
    "Nadam": optimizers.Nadam,
    "Adam, amsgrad": lambda: optimizers.Adam(amsgrad=True),
    "RMSprop": optimizers.RMSprop,
    "Adagrad from 0": lambda: optimizers.Adagrad(initial_accumulator_value=0.0),
    "Ftrl, schedule": lambda: optimizers.Ftrl(HALVING),
}


def state_after_updates(make, dtype, update_of):
    """Weights and slots after 20 updates with the same gradients; one of the two weights has a constraint."""
    chance = np.random.default_rng(0)
    distribution = strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        weights = [keras.Variable(chance.normal(size=shape), dtype=dtype) for shape in ((4, 3), (3,))]
        weights[0].constraint = keras.constraints.MaxNorm(2.0)
        optimizer = make()
        optimizer.build(weights)
    optimizer._all_reduce_sum_gradients = list
    update = update_of(optimizer)
    step = tf.function(lambda *gradients: distribution.run(lambda: update(gradients, weights)), autograph=False)
    for _ in range(20):
        step(*(tf.constant(chance.normal(size=weight.shape), dtype) for weight in weights))
    return [variable.numpy() for variable in (*weights, *optimizer.variables)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WITH_KERNEL)
def test_a_kernel_does_what_keras_does_up_to_rounding(name, dtype):
    fused = state_after_updates(WITH_KERNEL[name], dtype, update_of)
    own = state_after_updates(WITH_KERNEL[name], dtype, lambda optimizer: optimizer.apply)
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-13, 1e-15)
    for found, expected in zip(fused, own, strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("makers", "has_kernel"), [(WITH_KERNEL, True), (WITHOUT_KERNEL, False)])
def test_kernels_are_used_where_the_formula_is_the_same_and_only_there(makers, has_kernel):
    for name, make in makers.items():
        optimizer = make()
        optimizer.build([keras.Variable(np.ones(3), dtype="float32")])
        assert (update_of(optimizer) != optimizer.apply) == has_kernel, name
