"""The same training on 1, 2 and 4 logical CPUs, and on 1 with the rows of each batch reversed.

One model holds a layer for each case of a trial, and a group of its own trains it: a case is an option of groups, or an
optimizer. What goes wrong in one shows in the others too, but first of all in its own. 50 steps in 10 passes over 34
examples: the last batch of a pass has 2, so that two of four replicas have no rows.

    python -m tests.exactness.trials OUT.npz FLOAT64 TRIAL[:REPLICAS,REPLICAS...]...

Keys are `<trial>|<run>|<what>`, a run being the number of replicas or `reversed`.
"""

import sys
from collections.abc import Iterable
from typing import Any, Final

import keras
import numpy as np

from gradloom.spec import assign_groups, with_defaults
from gradloom.trainer import models, strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import averages_in_place
from gradloom.trainer.loop import Training
from gradloom.trainer.precision import set_precision
from gradloom.trainer.program import Program
from gradloom.v1 import spec_pb2
from tests.exactness.differences import optimizer_names

REPLICAS: Final = (1, 2, 4)
EPOCHS: Final = 10
BATCH: Final = 8
ROWS: Final = 34
DECAY: Final = {"initial_learning_rate": 0.02, "decay_steps": 7, "decay_rate": 0.8}

Cases = dict[str, spec_pb2.VariableGroup]


def options(optimizer: str, config: dict[str, Any]) -> Cases:
    """A group for each option, and one with all that go together; all with the same optimizer."""

    def group(**given: Any) -> spec_pb2.VariableGroup:
        made = spec_pb2.VariableGroup(**given)
        made.optimizer.type = optimizer
        made.optimizer.config.update({"learning_rate": 0.01, **config})
        return made

    cases = {
        "plain": group(),
        "clip_norm": group(clip_norm=0.05),
        "clip_value": group(clip_value=0.01),
        "update_every_steps": group(update_every_steps=3),
        "ema_momentum": group(ema_momentum=0.8),
        "unfreeze_at_epoch": group(unfreeze_at_epoch=4),
        "transformation": group(),
        "weight_decay": group(),
        "schedule": group(),
        "all": group(clip_norm=0.05, update_every_steps=2, ema_momentum=0.8, unfreeze_at_epoch=4),
    }
    for name in ("transformation", "all"):
        cases[name].gradient_transformations.add(type="gradloom>CentralizeGradient")
    for name in ("schedule", "all"):
        del cases[name].optimizer.config.fields["learning_rate"]
        cases[name].learning_rate.type = "ExponentialDecay"
        cases[name].learning_rate.config.update(DECAY)
    cases["weight_decay"].optimizer.config["weight_decay"] = 0.1
    cases["frozen"] = spec_pb2.VariableGroup(frozen=True)
    return cases


def cases_of(trial: str) -> Cases:
    """The groups of a trial: `optimizers`, `SGD with momentum` or the name of an optimizer."""
    if trial == "optimizers":
        return {
            name.rpartition(">")[2]: spec_pb2.VariableGroup(optimizer=spec_pb2.Component(type=name))
            for name in optimizer_names()
        }
    if trial == "SGD with momentum":
        return options("SGD", {"momentum": 0.9})
    return options(trial, {})


class AddsLosses(keras.layers.Layer):
    """Adds a loss that is summed over the examples, and one that is a mean."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.001 * keras.ops.sum(inputs**2))
        self.add_loss(0.01 * keras.ops.mean(inputs**4))
        return inputs


def build_model(cases: Iterable[str]) -> keras.Model:
    """A layer for each case, side by side; then batch normalization, after a bias too, and the head."""
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(
        5,
        activation="tanh",
        name="first",
        kernel_regularizer=keras.regularizers.L2(0.01),
        activity_regularizer=keras.regularizers.L1(0.01),
        bias_constraint=keras.constraints.MaxNorm(0.3),
    )(inputs)
    branches = [keras.layers.Dense(3, use_bias=False, name=case)(hidden) for case in cases]
    hidden = AddsLosses()(keras.layers.Activation("tanh")(keras.layers.Concatenate()(branches)))
    # The gradient of this bias is zero but for rounding.
    hidden = keras.layers.Dense(6, name="before_norm")(hidden)
    hidden = keras.layers.BatchNormalization(momentum=0.8, name="norm_after_bias")(hidden)
    hidden = keras.layers.BatchNormalization(momentum=0.8, name="frozen_norm")(hidden)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden), name="model")


def make_spec(cases: Cases, precision: int) -> spec_pb2.JobSpec:
    """The groups of the cases, and two for what they share; all clipped together."""
    spec = spec_pb2.JobSpec()
    for name, group in cases.items():
        own = spec.variable_groups.add()
        own.CopyFrom(group)
        own.name = name
        own.match.append(f"{name}/**")
    spec.variable_groups.add(name="shared_frozen", match=["frozen_norm/**"], frozen=True)
    shared = spec.variable_groups.add(name="shared", match=["**"])
    shared.optimizer.type = "SGD"
    # Slow enough that rounding does not grow by itself: at 0.05 reversed batches alone differ by 4e-4 after 50 steps.
    shared.optimizer.config.update({"learning_rate": 0.01, "momentum": 0.9})
    spec.loss.type = "SparseCategoricalCrossentropy"
    spec.loss.config["from_logits"] = True
    options = spec_pb2.TrainingSpec(epochs=EPOCHS, global_batch_size=BATCH, precision=precision, clip_norm=5.0)
    spec.training.CopyFrom(options)
    return with_defaults(spec, seed=5)


class ReversedProgram(Program):
    """Trains on the rows of each batch in reversed order: what rounding alone can change."""

    def _batch(self, *arguments: Any) -> Any:
        return super()._batch(*arguments).map(lambda tensor: tensor[::-1])


class ReversedTraining(Training):
    """A training on reversed batches."""

    program_class = ReversedProgram


def run(trial: str, precision: int, replicas: int, kind: type[Training] = Training) -> dict[str, np.ndarray]:
    """Everything that a training leaves: variables, averages, losses, and outputs in place of what is not decided."""
    cases = cases_of(trial)
    chance = np.random.default_rng(7)
    spec = make_spec(cases, precision)
    set_precision(spec.training)
    keras.utils.set_random_seed(3)
    distribution = strategy.make_strategy(strategy.CPU, replicas)
    dtype = keras.config.floatx()
    arrays = Arrays(chance.normal(size=(ROWS, 5)).astype(dtype), chance.integers(0, 3, ROWS))
    with distribution.scope():
        model = build_model(cases)
    paths = models.variable_paths(model)
    assignment = assign_groups([path for path, variable in paths if variable.trainable], spec.variable_groups)
    training = kind.build(spec, model, assignment, arrays, None, distribution)
    losses = [training.run_epoch(epoch)["loss"] for epoch in range(1, EPOCHS + 1)]
    found = {path: variable.numpy() for path, variable in paths if path not in UNDECIDED}
    with averages_in_place(training.groups):
        found |= {
            f"average of {path}": variable.numpy()
            for path, variable in paths
            if variable.trainable and path not in UNDECIDED
        }
    found["losses"] = np.array(losses)
    found["outputs"] = outputs(model, arrays.features)
    return found


UNDECIDED: Final = ("before_norm/bias", "norm_after_bias/moving_mean")


def outputs(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """What the model gives in training: by batch statistics, in which a bias before them has no part."""
    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    found = keras.ops.convert_to_numpy(model(features, training=True))
    for variable, value in state:
        variable.assign(value)
    return found


def main() -> None:
    out, precision, *trials = sys.argv[1:]
    strategy.configure(strategy.CPU, max(REPLICAS), threads=strategy.Threads(1, 2))
    number = spec_pb2.TrainingSpec.Precision.Value(precision)
    found: dict[str, np.ndarray] = {}
    for asked in trials:
        trial, _, replicas = asked.partition(":")
        runs = {one: run(trial, number, int(one)) for one in replicas.split(",") if one} or {
            str(one): run(trial, number, one) for one in REPLICAS
        }
        if precision == "FLOAT32":
            runs["reversed"] = run(trial, number, 1, ReversedTraining)
        found |= {f"{trial}|{name}|{what}": value for name, one in runs.items() for what, value in one.items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main()
