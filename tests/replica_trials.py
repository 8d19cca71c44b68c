"""Trains the same small models on 1, 2 and 4 logical CPUs, in one process; `test_replicas` runs it and compares.

    python tests/replica_trials.py OUT.npz

Everything is float64, so that rounding does not hide a mistake. Keys are `<trial>/<replicas>/<what>`.
"""

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

REPLICAS = (1, 2, 4)
CHANCE = np.random.default_rng(7)
# Batches of 8: the last one has 5 rows in one set and 2 in the other, fewer than four replicas.
UNEVEN = Arrays(CHANCE.normal(size=(29, 6)), CHANCE.integers(0, 3, 29))
FEW = Arrays(CHANCE.normal(size=(18, 6)), CHANCE.integers(0, 3, 18))
IMAGES = Arrays(CHANCE.integers(0, 256, (18, 8, 8, 1), np.uint8), CHANCE.integers(0, 3, 18).astype(np.uint8))
WORDS = Arrays(CHANCE.integers(0, 5, (18, 4)).astype(np.int32), CHANCE.integers(0, 3, (18, 4)))

layers = keras.layers


@keras.saving.register_keras_serializable("trials")
class AddsLosses(layers.Layer):
    """Adds a sum over the examples, and what several layers of one model would add before a collective."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.01 * keras.ops.sum(inputs**2))
        self.add_loss(0.1 * keras.ops.mean(inputs**4))
        return inputs


@keras.saving.register_keras_serializable("trials")
class BatchVariance(layers.Layer):
    """Adds a loss that is neither a sum nor a mean over the examples."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(keras.ops.mean(keras.ops.var(inputs, axis=0)))
        return inputs


def dense(*inner: Any, shape: tuple[int, ...] = (6,), dtype: str | None = None) -> keras.Model:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *inner, layers.Dense(3, name="last")], name="model")


def regularized() -> keras.Model:
    return dense(
        layers.Dense(7, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.05), name="first"),
        layers.Dense(5, activation="tanh", activity_regularizer=keras.regularizers.L2(0.05), name="second"),
        layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.7), name="third"),
        AddsLosses(),
    )


def four_layers() -> keras.Model:
    return dense(*(layers.Dense(4, name=name) for name in ("first", "second", "third")))


def normalized() -> keras.Model:
    inner = keras.Sequential(
        [keras.Input((7,)), layers.BatchNormalization(name="inner_norm"), AddsLosses(), layers.Activation("tanh")],
        name="inner",
    )
    return dense(
        layers.Dense(7, use_bias=False, name="first"), layers.BatchNormalization(momentum=0.7, name="norm"), inner
    )


def convolutional() -> keras.Model:
    return dense(
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        shape=(8, 8, 1),
    )


def sequence() -> keras.Model:
    return dense(
        layers.Embedding(5, 4, mask_zero=True, name="first"),
        layers.BatchNormalization(momentum=0.7, name="norm"),
        layers.LSTM(5, return_sequences=True, name="second"),
        shape=(4,),
        dtype="int32",
    )


def one_group(
    optimizer: Callable[[], keras.optimizers.Optimizer], **options: Any
) -> Callable[[keras.Model], tuple[Group, ...]]:
    return lambda model: (Group("all", tuple(model.trainable_variables), optimizer(), **options),)


def several_groups(model: keras.Model) -> tuple[Group, ...]:
    decay = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    optimizers = {
        "first": (keras.optimizers.SGD(0.1, momentum=0.9), {"clip_norm": 0.05}),
        "second": (keras.optimizers.AdamW(0.01), {"clip_value": 0.002}),
        "third": (keras.optimizers.Nadam(decay), {}),
        "last": (None, {}),
    }
    return tuple(
        Group(name, tuple(model.get_layer(name).trainable_variables), optimizer, **options)
        for name, (optimizer, options) in optimizers.items()
    )


def clipping_groups(model: keras.Model) -> tuple[Group, ...]:
    optimizers = {
        "first": (keras.optimizers.RMSprop(0.01), {"clip_norm": 0.1}),
        "second": (keras.optimizers.Nadam(0.01), {"clip_value": 0.1}),
        "third": (keras.optimizers.Adam(0.01), {"update_every_steps": 2}),
        "last": (keras.optimizers.Muon(0.01), {}),
    }
    return tuple(
        Group(name, tuple(model.get_layer(name).trainable_variables), optimizer, **options)
        for name, (optimizer, options) in optimizers.items()
    )


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, momentum=0.9)


def adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(0.01, epsilon=1e-3)


SPARSE = {"loss": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
TRIALS: dict[str, dict[str, Any]] = {
    "groups with every option": {
        "model": regularized,
        "groups": several_groups,
        "data": UNEVEN,
        "validation": FEW,
        "clip_norm": 0.3,
    },
    "replicas without rows": {"model": regularized, "groups": one_group(adam), "data": FEW},
    "loss summed over the batch": {
        "model": regularized,
        "groups": one_group(sgd, clip_norm=1.0),
        "data": FEW,
        "loss": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
    },
    "ignored class": {
        "model": regularized,
        "groups": one_group(sgd),
        "data": FEW,
        "loss": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        "micro_batches": (1, 3),
    },
    "batch normalization": {"model": normalized, "groups": one_group(sgd), "data": FEW, "validation": UNEVEN},
    "convolution of bytes": {"model": convolutional, "groups": one_group(adam), "data": IMAGES},
    "masked sequence": {"model": sequence, "groups": one_group(adam), "data": WORDS},
}


def train(trial: dict[str, Any], distribution: tf.distribute.Strategy, micro_batches: int = 1) -> dict[str, Any]:
    keras.utils.set_random_seed(3)
    with distribution.scope():
        model = trial["model"]()
        groups = trial["groups"](model)
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        target = Target("", (trial.get("loss") or SPARSE["loss"])(), metrics=(accuracy,))
    options = spec_pb2.TrainingSpec(global_batch_size=8, seed=5, gradient_accumulation_steps=micro_batches)
    if "clip_norm" in trial:
        options.clip_norm = trial["clip_norm"]
    training = Training(model, [target], groups, options, trial["data"], trial.get("validation"), distribution)
    scalars = [training.run_epoch(epoch) for epoch in (1, 2)]
    weights = [variable for variable in model.variables if variable.name != "seed_generator_state"]
    found = {f"variable {index}": variable.numpy() for index, variable in enumerate(weights)}
    found |= {f"epoch {epoch} {name}": value for epoch, one in enumerate(scalars, 1) for name, value in one.items()}
    live = training.snapshot()
    found |= {f"norm {name}": look.gradient_norm for name, look in live.groups.items()}
    found |= {f"ratio {name}": look.update_ratio for name, look in live.groups.items()}
    return found


def refusal(replicas: int) -> str:
    """What a loss that cannot be split is answered with; empty when it is trained."""
    trial = {"model": lambda: dense(BatchVariance(name="spread")), "groups": one_group(sgd), "data": FEW}
    try:
        train(trial, strategy.make_strategy(strategy.CPU, replicas))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class CountingReduction(tf.distribute.ReductionToOneDevice):
    """Counts how often a traced step asks for a reduction."""

    asked = 0

    def reduce(self, *arguments: Any, **named: Any) -> Any:
        type(self).asked += not tf.executing_eagerly()
        return super().reduce(*arguments, **named)

    def batch_reduce(self, *arguments: Any, **named: Any) -> Any:
        type(self).asked += not tf.executing_eagerly()
        return super().batch_reduce(*arguments, **named)


def reductions_per_step(micro_batches: int) -> float:
    """With four optimizers, of which three clip or add up their gradients."""
    distribution = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=CountingReduction())
    CountingReduction.asked = 0
    train({"model": four_layers, "groups": clipping_groups, "data": FEW}, distribution, micro_batches)
    steps_traced = 2  # a full batch and the last, smaller one
    return CountingReduction.asked / steps_traced


def synchronized_layers(option: bool | None) -> int:
    """How many layers of a model use the statistics of both replicas."""
    distribution = strategy.make_strategy(strategy.CPU, 2)
    with distribution.scope():
        model = normalized()
        groups = one_group(sgd)(model)
    options = spec_pb2.TrainingSpec(global_batch_size=8, seed=5, synchronized_batch_normalization=option)
    target = Target("", SPARSE["loss"]())
    return len(Training(model, [target], groups, options, FEW, None, distribution).synchronized_layers)


def main() -> None:
    strategy.configure(strategy.CPU, max(REPLICAS), threads=strategy.Threads(1, 2))
    keras.config.set_floatx("float64")
    found: dict[str, Any] = {f"reductions/{parts}": reductions_per_step(parts) for parts in (1, 3)}
    found |= {f"synchronized/{option}": synchronized_layers(option) for option in (None, True, False)}
    for replicas in REPLICAS:
        found[f"refusal/{replicas}"] = refusal(replicas)
        for name, trial in TRIALS.items():
            if replicas not in trial.get("replicas", (1, 4)):
                continue
            for parts in trial.get("micro_batches", (1,)) if replicas > 1 else (1,):
                setting = f"{name}/{replicas}" if parts == 1 else f"{name}/{replicas} in {parts} micro-batches"
                results = train(trial, strategy.make_strategy(strategy.CPU, replicas), parts)
                found |= {f"{setting}/{what}": value for what, value in results.items()}
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
