"""Rules of `spec.training`: how long and how to train."""

from typing import Final

from gradloom.faults import child, shown
from gradloom.spec.components import ComponentChecker
from gradloom.spec.defaults import DEFAULT_GLOBAL_BATCH_SIZE, output_names
from gradloom.spec.limits import above_zero, at_least_zero, between, known_number
from gradloom.spec.scalars import Monitors
from gradloom.v1 import spec_pb2

MAX_SEED: Final = 2**31 - 1
MAX_KEPT_CHECKPOINTS: Final = 100
MAX_SECONDS: Final = 2_592_000
"""Thirty days: what waits longer waits for ever."""

MAX_STEPS: Final = 2**31 - 1
"""Of a whole training: reports count steps in 32 bits."""

FIELD: Final = "spec.training"


def check_training(spec: spec_pb2.JobSpec, monitors: Monitors, checker: ComponentChecker) -> None:
    """Checks `spec.training`."""
    training, faults = spec.training, checker.faults
    for name in ("epochs", "global_batch_size"):
        between(training, name, 1, None, FIELD, faults)
    between(training, "seed", 0, MAX_SEED, FIELD, faults)
    for name in ("steps_per_loop", "scalars_every_steps"):
        between(training, name, 1, None, FIELD, faults)
    above_zero(training, "clip_norm", FIELD, faults)
    between(training, "steps_per_epoch", 1, None, FIELD, faults)
    total = training.epochs * training.steps_per_epoch
    if total > MAX_STEPS:
        told = f"{training.epochs} epochs of {training.steps_per_epoch} steps are {total}"
        faults.add(f"{FIELD}.epochs", f"must make at most 2^31 - 1 steps in all; {told}")
    if training.HasField("precision"):
        known_number(spec_pb2.TrainingSpec.Precision, training.precision, f"{FIELD}.precision", faults)
    if training.HasField("jit_compile"):
        known_number(spec_pb2.TrainingSpec.JitCompile, training.jit_compile, f"{FIELD}.jit_compile", faults)
    _check_accumulation(training, checker)
    if training.class_weights:
        _check_class_weights(spec, checker)
    _check_checkpoint(training.checkpoint, monitors, checker)
    _check_early_stopping(training.early_stopping, monitors, checker)
    for name in ("step_timeout_seconds", "stage_timeout_seconds"):
        between(training, name, 1, MAX_SECONDS, FIELD, faults)


def _check_accumulation(training: spec_pb2.TrainingSpec, checker: ComponentChecker) -> None:
    name = "gradient_accumulation_steps"
    between(training, name, 1, None, FIELD, checker.faults)
    size = training.global_batch_size if training.HasField("global_batch_size") else DEFAULT_GLOBAL_BATCH_SIZE
    if 1 <= size < training.gradient_accumulation_steps:
        got = training.gradient_accumulation_steps
        checker.faults.add(
            f"{FIELD}.{name}", f"must be at most global_batch_size, {size}: a part holds an example; got {got}"
        )


def _check_class_weights(spec: spec_pb2.JobSpec, checker: ComponentChecker) -> None:
    field, faults = f"{FIELD}.class_weights", checker.faults
    if len(spec.outputs) > 1 or len(output_names(spec.model)) > 1:
        faults.add(field, "must be left out: the model has several outputs, and classes are those of one")
        return
    entry = checker.catalogue.get("dataset", spec.data.train.builtin.name)
    known = entry.dataset if entry is not None else None
    if known is not None and known.classes is None:
        faults.add(field, f"must be left out: the labels of {spec.data.train.builtin.name} are not classes")
        return
    classes = known.classes if known is not None else None
    for number, weight in sorted(spec.training.class_weights.items()):
        if number < 0:
            faults.add(child(field, number), f"must be the weight of a class, counted from 0; got {number}")
        elif classes is not None and number >= classes:
            rule = f"must be the weight of a class of the training data, 0 to {classes - 1}"
            faults.add(child(field, number), f"{rule}; got {number}")
        at_least_zero(weight, child(field, number), faults)
    weights = spec.training.class_weights.values()
    if classes == len(weights) and not any(weights):
        faults.add(field, "must hold a weight above 0: nothing would be minimised")


def _check_checkpoint(checkpoint: spec_pb2.CheckpointSpec, monitors: Monitors, checker: ComponentChecker) -> None:
    field, faults = f"{FIELD}.checkpoint", checker.faults
    between(checkpoint, "every_steps", 1, None, field, faults)
    above_zero(checkpoint, "every_seconds", field, faults)
    if checkpoint.every_seconds > MAX_SECONDS:
        got = shown(checkpoint.every_seconds)
        faults.add(f"{field}.every_seconds", f"must be at most {MAX_SECONDS}, thirty days; got {got}")
    between(checkpoint, "keep", 1, MAX_KEPT_CHECKPOINTS, field, faults)
    monitors.check(checkpoint, "best", field, faults)


def _check_early_stopping(stopping: spec_pb2.EarlyStopping, monitors: Monitors, checker: ComponentChecker) -> None:
    field, faults = f"{FIELD}.early_stopping", checker.faults
    monitors.check(stopping, "monitor", field, faults)
    between(stopping, "patience", 1, None, field, faults)
    between(stopping, "min_delta", 0, None, field, faults)
