"""Trains with weights and several outputs on 1, 2 and 4 logical CPUs, in one process; `test_weights` compares.

    python tests/weight_trials.py OUT.npz

Everything is float64, so that rounding does not hide a mistake. Keys are `<trial>/<setting>/<what>`. The last batch of
an epoch has two rows: fewer than four replicas.
"""

import sys
from typing import Any

import keras
import numpy as np

from gradloom.trainer import strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

BATCH, SEED, EPOCHS = 8, 5, 2
SETTINGS = {"1": (1, 1), "4": (4, 1), "2 in 3 parts": (2, 3)}
CHANCE = np.random.default_rng(9)
FEATURES, OTHERS = CHANCE.normal(size=(18, 4)), CHANCE.normal(size=(11, 4))
KINDS, OTHER_KINDS = CHANCE.integers(0, 3, 18), CHANCE.integers(0, 3, 11)
WEIGHTS, OTHER_WEIGHTS = CHANCE.uniform(0, 3, 18), CHANCE.uniform(0, 3, 11)
WORDS = CHANCE.integers(0, 5, (18, 6)).astype(np.int32)
CLASS_WEIGHTS = {0: 0.25, 2: 3.0}


def sparse(**options: Any) -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def linear() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="last")], name="model")


def of_words() -> keras.Model:
    layers = [
        keras.Input((6,), dtype="int32"),
        keras.layers.Embedding(5, 4, mask_zero=True),
        keras.layers.Dense(3),
    ]
    return keras.Sequential(layers, name="model")


def with_heads() -> keras.Model:
    inputs = keras.Input((4,))
    body = keras.layers.Dense(5, activation="tanh", activity_regularizer=keras.regularizers.L2(0.01))(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3, name="kind")(body), keras.layers.Dense(1, name="size")(body)])


def one(loss: keras.losses.Loss) -> list[Target]:
    return [Target("", loss, metrics=(keras.metrics.SparseCategoricalAccuracy(name="accuracy"),))]


def two() -> list[Target]:
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    size = Target("size", keras.losses.MeanAbsoluteError(reduction="sum"), 0.125)
    return [Target("kind", sparse(ignore_class=1), metrics=(accuracy,)), size]


PLAIN = Arrays(FEATURES, KINDS)
WEIGHTED = Arrays(FEATURES, KINDS, WEIGHTS)
VALIDATION = Arrays(OTHERS, OTHER_KINDS, OTHER_WEIGHTS)
TRIALS: dict[str, dict[str, Any]] = {
    "sample weights": {"data": WEIGHTED, "validation": VALIDATION},
    "weighted mean": {
        "data": WEIGHTED,
        "validation": VALIDATION,
        "targets": lambda: one(sparse(reduction="mean_with_sample_weight")),
    },
    "class weights": {"data": PLAIN, "validation": VALIDATION, "class_weights": CLASS_WEIGHTS},
    "both weights, of one-hot labels": {
        "data": Arrays(FEATURES, np.eye(3)[KINDS], WEIGHTS),
        "class_weights": CLASS_WEIGHTS,
        "targets": lambda: [Target("", keras.losses.CategoricalCrossentropy(from_logits=True))],
    },
    "weights under a mask": {
        "model": of_words,
        "data": Arrays(WORDS, np.minimum(WORDS, 2), WEIGHTS),
        "targets": lambda: one(sparse()),
    },
    "several outputs": {
        "model": with_heads,
        "data": Arrays(FEATURES, {"kind": KINDS, "size": FEATURES[:, :1] ** 2}, WEIGHTS),
        "validation": Arrays(OTHERS, {"kind": OTHER_KINDS, "size": OTHERS[:, :1] ** 2}),
        "targets": two,
    },
}


def train(trial: dict[str, Any], replicas: int, micro_batches: int) -> dict[str, Any]:
    distribution = strategy.make_strategy(strategy.CPU, replicas)
    keras.utils.set_random_seed(3)
    with distribution.scope():
        model = trial.get("model", linear)()
        groups = [Group("all", tuple(model.trainable_variables), keras.optimizers.SGD(0.1))]
        targets = trial.get("targets", lambda: one(sparse()))()
    options = spec_pb2.TrainingSpec(global_batch_size=BATCH, seed=SEED, gradient_accumulation_steps=micro_batches)
    options.class_weights.update(trial.get("class_weights", {}))
    training = Training(model, targets, groups, options, trial["data"], trial.get("validation"), distribution)
    found = {f"before {index}": variable.numpy() for index, variable in enumerate(model.variables)}
    for epoch in range(1, EPOCHS + 1):
        found |= {f"epoch {epoch} {name}": value for name, value in training.run_epoch(epoch).items()}
    return found | {f"variable {index}": variable.numpy() for index, variable in enumerate(model.variables)}


def main() -> None:
    strategy.configure(strategy.CPU, 4, threads=strategy.Threads(1, 2))
    keras.config.set_floatx("float64")
    found = {}
    for name, trial in TRIALS.items():
        for setting, (replicas, micro_batches) in SETTINGS.items():
            results = train(trial, replicas, micro_batches)
            found |= {f"{name}/{setting}/{what}": value for what, value in results.items()}
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
