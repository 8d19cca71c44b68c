"""Trains models whose layers keep metrics and sums, on 1, 2 and 3 logical CPUs; `test_own_state` runs it and compares.

    python tests/own_state_trials.py OUT.npz

Everything is float64, so that rounding does not hide a mistake. Keys are `<replicas>/<what>`.
"""

import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradloom import documents
from gradloom.components import ComputeSum, ReconstructingRegressor
from gradloom.spec import assign_groups, with_defaults
from gradloom.trainer import models, strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.loop import Training

CHANCE = np.random.default_rng(29)
# Batches of 8: the last one has 2 rows, fewer than three replicas.
TRAIN = Arrays(CHANCE.normal(3, 2, (18, 4)), CHANCE.normal(size=(18, 1)))
VALIDATION = Arrays(CHANCE.normal(3, 2, (10, 4)), CHANCE.normal(size=(10, 1)))
EPOCHS = 2
JOB = {
    "spec": {
        "loss": {"type": "MeanSquaredError"},
        "variable_groups": [{"name": "all", "match": ["**"], "optimizer": {"type": "SGD", "config": {}}}],
        "training": {"epochs": EPOCHS, "global_batch_size": 8},
    }
}


@keras.saving.register_keras_serializable("trials")
class Regressor(ReconstructingRegressor):
    """Keeps, besides, the sum of its inputs, and the largest input by a metric of one number a batch."""

    def __init__(self, **config: Any):
        super().__init__(**config)
        self.sums = ComputeSum(name="sums")
        self.mean_input = keras.metrics.Mean(name="mean_input")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.sums.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        self.mean_input.update_state(keras.ops.mean(inputs))
        return super().call(self.sums(inputs))


def trial(replicas: int) -> dict[str, Any]:
    distribution = strategy.make_strategy(strategy.CPU, replicas)
    keras.utils.set_random_seed(3)
    spec = with_defaults(documents.job_from_dict(JOB).spec, seed=1)
    with distribution.scope():
        model = models.BuiltModel(Regressor(hidden_units=[5, 4], name="model"), (4,))
    paths = dict(models.variable_paths(model))
    trained = [path for path, variable in paths.items() if variable.trainable]
    assignment = assign_groups(trained, spec.variable_groups)
    training = Training.build(spec, model, assignment, TRAIN, VALIDATION, distribution)
    scalars: dict[str, float] = {}
    for epoch in range(1, EPOCHS + 1):
        scalars = training.run_epoch(epoch)
    model(TRAIN.features)
    metrics = models.exported_model(model).metrics
    found = {path.replace("/", "."): variable.numpy() for path, variable in paths.items()}
    return {**scalars, **found, "metrics after the training": [metric.count.numpy() for metric in metrics]}


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    strategy.configure(strategy.CPU, 3)
    results = {f"{replicas}/{key}": value for replicas in (1, 2, 3) for key, value in trial(replicas).items()}
    np.savez(sys.argv[1], train=TRAIN.features, validation=VALIDATION.features, **results)
    assert tf.config.list_logical_devices("CPU")[2:]
