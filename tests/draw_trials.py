"""Trains models with random layers on 1, 2 and 4 logical CPUs and in micro-batches; `test_draws` compares.

    python tests/draw_trials.py OUT.npz

Everything is float64, so that rounding does not hide a mistake. Keys are `<trial>/<replicas>/<what>`, or
`<trial>/<replicas>x<micro-batches>/<what>`.
"""

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from gradloom.trainer import strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(7)
# Batches of 8: the last one has 2 rows, fewer than four replicas.
ROWS = Arrays(CHANCE.normal(size=(18, 6)), CHANCE.integers(0, 3, 18))
IMAGES = Arrays(CHANCE.normal(size=(18, 6, 6, 1)), CHANCE.integers(0, 3, 18))
SERIES = Arrays(CHANCE.normal(size=(18, 4, 3)), CHANCE.integers(0, 3, 18))

layers = keras.layers


@keras.saving.register_keras_serializable("trials")
class OwnNoise(layers.Layer):
    """A layer of a user's own: for each row a number from its generator, and one for the whole batch."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        own = keras.random.normal(keras.ops.shape(inputs), dtype="float64", seed=self.seed_generator)
        shared = keras.random.uniform((1, inputs.shape[-1]), dtype="float64", seed=self.seed_generator)
        return inputs + 0.3 * own + shared


@keras.saving.register_keras_serializable("trials")
class FlatNoise(layers.Layer):
    """Draws for all elements in one row, so that no axis of the draw is the batch's."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs: Any, training: bool = False) -> Any:
        size = inputs.shape[0] * inputs.shape[1] if inputs.shape[0] is not None else 1
        flat = keras.random.normal((size,), dtype="float64", seed=self.seed_generator)
        return inputs + keras.ops.reshape(flat, (-1, inputs.shape[1])) if inputs.shape[0] is not None else inputs


def dense() -> keras.Model:
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Dropout(0.3)], name="inner")
    noise = [layers.GaussianNoise(0.3), layers.GaussianDropout(0.3), layers.AlphaDropout(0.3), OwnNoise()]
    first = [layers.Dense(8, activation="tanh"), layers.Dropout(0.5), inner]
    return keras.Sequential([keras.Input((6,)), *first, *noise, layers.Dense(3)], name="model")


def images() -> keras.Model:
    augmentation = [
        layers.RandomFlip(),
        layers.RandomTranslation(0.3, 0.3),
        layers.RandomBrightness(0.3, value_range=(-3.0, 3.0)),
    ]
    head = [layers.Conv2D(3, 2), layers.SpatialDropout2D(0.5), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((6, 6, 1)), *augmentation, *head], name="model")


def series() -> keras.Model:
    inputs = keras.Input((4, 3))
    attended = layers.MultiHeadAttention(2, 3, dropout=0.4)(inputs, inputs)
    remembered = layers.LSTM(4, dropout=0.3, recurrent_dropout=0.3)(attended)
    return keras.Model(inputs, layers.Dense(3)(remembered), name="model")


def flat() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), FlatNoise(name="flat_noise"), layers.Dense(3)], name="model")


TRIALS: dict[str, tuple[Callable[[], keras.Model], Arrays, tuple[str, ...]]] = {
    "dense": (dense, ROWS, ("1", "2", "4", "1x3", "4x2")),
    "images": (images, IMAGES, ("1", "4")),
    "series": (series, SERIES, ("1", "4", "1x2")),
    "flat": (flat, ROWS, ("1", "2", "1x2")),
}


def train(name: str, setup: str) -> dict[str, Any]:
    build, data, _ = TRIALS[name]
    replicas, _, micro_batches = setup.partition("x")
    distribution = strategy.make_strategy(strategy.CPU, int(replicas))
    keras.utils.set_random_seed(3)
    with distribution.scope():
        built = build()
        groups = (Group("all", tuple(built.trainable_variables), keras.optimizers.SGD(0.1, momentum=0.9)),)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = spec_pb2.TrainingSpec(global_batch_size=8, seed=5, gradient_accumulation_steps=int(micro_batches or 1))
    training = Training(built, [Target("", loss)], groups, options, data, None, distribution)
    scalars = [training.run_epoch(epoch) for epoch in (1, 2)]
    found = {f"variable {index}": variable.numpy() for index, variable in enumerate(built.variables)}
    copies = [distribution.experimental_local_results(variable.value) for variable in built.variables]
    found["copies differ"] = np.array(any(not np.array_equal(one[0], other) for one in copies for other in one[1:]))
    found |= {f"loss {epoch}": one["loss"] for epoch, one in enumerate(scalars)}
    found["dependent"] = np.array(training.replica_dependent_layers, dtype=str)
    return found


def main() -> None:
    strategy.configure(strategy.CPU, 4, threads=strategy.Threads(1, 2))
    keras.config.set_floatx("float64")
    found: dict[str, Any] = {}
    for name, (_, _, setups) in TRIALS.items():
        for setup in setups:
            found |= {f"{name}/{setup}/{what}": value for what, value in train(name, setup).items()}
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
