"""Trains one job left alone and one that is killed again and again; `test_resume` runs it and compares.

    python tests/resume_trials.py OUT.npz REPLICAS

Each time the state goes through a file into a training that is built anew, from another seed. The killed run is looked
at between any two steps, so that what it finds also shows that this changes no bit. Keys are `<run>/<what>`.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.utils import naming

from gradloom.trainer import checkpoints, strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.program import Program
from gradloom.trainer.saved_state import Place
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

layers, optimizers = keras.layers, keras.optimizers
CHANCE = np.random.default_rng(3)
EPOCHS = 3


def examples(count: int) -> Arrays:
    return Arrays(CHANCE.normal(size=(count, 6)).astype(np.float32), CHANCE.integers(0, 3, count))


TRAIN, VALIDATION, TEST = examples(53), examples(29), examples(21)


@keras.saving.register_keras_serializable("resume_trials")
class CountingCalls(layers.Layer):
    """State that no gradient trains, held in a list of layers held in a list."""

    def __init__(self, **named: Any):
        super().__init__(**named)
        self.inner = [[layers.Dense(8, activation="tanh"), layers.BatchNormalization()], [layers.Dropout(0.2)]]

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        for layer in (layer for row in self.inner for layer in row):
            layer.build(shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.calls.assign_add(1.0)
        for layer in (layer for row in self.inner for layer in row):
            inputs = layer(inputs, training=training)
        return inputs


class EachBatch(Program):
    """Asks for a checkpoint after every batch of an evaluation, too."""

    ask: Callable[[], None]

    def evaluate(self, batches: Any, rows: int, begin: int, end: int) -> int:
        reached = super().evaluate(batches, rows, begin, begin + 1)
        if reached > begin:
            self.ask()
        return reached


class EachStep(Training):
    program_class = EachBatch


def build(kind: type[Training], replicas: int, seed: int) -> Training:
    distribution = strategy.make_strategy(strategy.CPU, replicas)
    keras.utils.set_random_seed(seed)
    naming.reset_uids()
    decay = optimizers.schedules.ExponentialDecay(0.05, 5, 0.7)
    with distribution.scope():
        inner = [
            layers.Dense(8, activation="relu", name="first"),
            layers.Dropout(0.4),
            CountingCalls(name="second"),
            layers.GaussianNoise(0.1),
            layers.Dense(5, activation="relu", name="third"),
            layers.Dense(3, activation="softmax", name="last"),
        ]
        model = keras.Sequential([keras.Input((6,)), *inner], name="model")
        of = {layer.name: tuple(layer.trainable_variables) for layer in model.layers}
        groups = (
            Group("first", of["first"], optimizers.Adam(decay), clip_norm=0.5, ema_momentum=0.9),
            Group("second", of["second"], optimizers.Nadam(0.02), update_every_steps=3),
            Group("third", of["third"], optimizers.ScheduleFreeAdamW(0.02), unfreeze_at_epoch=2),
            Group("last", of["last"], optimizers.Adafactor(0.02)),
        )
        metrics = (
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top"),
        )
    target = Target("", keras.losses.SparseCategoricalCrossentropy(), metrics=metrics)
    # 7 batches, the last one of 5, in a pass; an epoch ends in the middle of one.
    options = spec_pb2.TrainingSpec(
        global_batch_size=8,
        seed=4,
        steps_per_epoch=9,
        clip_norm=1.0,
        synchronized_batch_normalization=False,
        scalars_every_steps=4,
    )
    return kind(model, (target,), groups, options, TRAIN, VALIDATION, distribution)


def train_on(training: Training, found: dict[str, Any]) -> None:
    """Trains to the end; adds what is recorded at steps, and what every epoch that ends in it, and the test, give."""

    def record(step: int, epoch: int, scalars: Any) -> None:
        for name, value in scalars.items():
            found[f"point/{step}/{epoch}/{name}"] = value

    training.record_with(record)
    for epoch in range(training.place.epoch, EPOCHS + 1):
        for name, value in training.run_epoch(epoch).items():
            found[f"scalar/{epoch}/{name}"] = value
    for name, value in training.evaluate(TEST, "test_").items():
        found[f"scalar/{name}"] = value


class Killed(Exception):
    """The process is gone."""


def killed_often(replicas: int, directory: Path) -> dict[str, Any]:
    """Killed in the first epoch, in a validation, between two updates of a group that updates rarely, in the test."""
    ends = [(5, 1, "", 0), (9, 1, "val_", 1), (16, 2, "", 0), (27, 4, "test_", 2)]
    training = build(EachStep, replicas, seed=2)
    found: dict[str, Any] = {}
    for number, end in enumerate([*ends, None]):
        path = directory / "checkpoints" / f"{number}.ckpt"

        def save(end: Any = end, training: Training = training, path: Path = path) -> None:
            training.snapshot()
            place = training.place
            if end == (training.global_step, place.epoch, place.evaluation, place.batch):
                state = training.state()
                header = checkpoints.Header("job", "spec", 1, state.global_step, place.epoch, {"place": vars(place)})
                checkpoints.write(path, directory / "aside", header, state.arrays)
                raise Killed

        training.save_with(save, every_steps=1)
        training._program.ask = training.request_checkpoint
        try:
            train_on(training, found)
        except Killed:
            saved = checkpoints.read(path)
            training = build(EachStep, replicas, seed=100 + number)
            training.restore(saved.arrays, Place(**saved.header.state["place"]), {})
        else:
            assert end is None, f"was not killed at {end}"
    return found | with_state(training)


def with_state(training: Training) -> dict[str, Any]:
    return {f"state/{key}": array for key, array in training.state().arrays.items()}


def main() -> None:
    replicas = int(sys.argv[2])
    strategy.configure(strategy.CPU, replicas)
    training, alone = build(Training, replicas, seed=2), {}
    train_on(training, alone)
    alone |= with_state(training)
    with tempfile.TemporaryDirectory() as directory:
        killed = killed_often(replicas, Path(directory))
    runs = {"alone": alone, "killed": killed}
    np.savez(sys.argv[1], **{f"{run}/{key}": value for run, found in runs.items() for key, value in found.items()})


if __name__ == "__main__":
    main()
