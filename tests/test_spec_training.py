"""The rules of group options and of how to train, one by one."""

import copy
from typing import Any

import pytest

from gradloom.spec.groups import OUR_OPTIONS
from tests.specs import SOUND, changed, faults_of, faults_with

SCHEDULE = {"type": "CosineDecay", "config": {"initial_learning_rate": 1, "decay_steps": 5}}
VALIDATED = {"builtin": {"name": "digits", "split": "test"}}


def group_faults(options: dict[str, Any], epochs: int = 5) -> dict[str, str]:
    """What is wrong with the sound job's only group after it got options, by the field below the group."""
    job = changed("spec.variable_groups.0", {**SOUND["spec"]["variable_groups"][0], **options})
    job.spec.training.epochs = epochs
    return {fault.field.removeprefix("spec.variable_groups[0]."): fault.description for fault in faults_of(job)}


def training_faults(options: dict[str, Any], validated: bool = True) -> dict[str, str]:
    """What is wrong with the sound job after its training got options, by the field below `spec.training`."""
    job = changed("spec.training", options)
    if validated:
        job.spec.data.validation.CopyFrom(changed("spec.data.validation", VALIDATED).spec.data.validation)
    return {fault.field.removeprefix("spec.training."): fault.description for fault in faults_of(job)}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"update_every_steps": 0}, "update_every_steps"),
        ({"update_every_steps": 10_001}, "update_every_steps"),
        ({"ema_momentum": 0}, "ema_momentum"),
        ({"ema_momentum": 1}, "ema_momentum"),
        ({"ema_momentum": "NaN"}, "ema_momentum"),
        ({"ema_momentum": 0.9, "optimizer": {"type": "ScheduleFreeAdamW"}}, "ema_momentum"),
        ({"reduce_on_plateau": {"factor": 1}}, "reduce_on_plateau.factor"),
        ({"reduce_on_plateau": {"factor": 0}}, "reduce_on_plateau.factor"),
        ({"reduce_on_plateau": {"patience": 0}}, "reduce_on_plateau.patience"),
        ({"reduce_on_plateau": {"min_learning_rate": -1}}, "reduce_on_plateau.min_learning_rate"),
        ({"reduce_on_plateau": {"min_learning_rate": "Infinity"}}, "reduce_on_plateau.min_learning_rate"),
        ({"reduce_on_plateau": {"monitor": "val_loss"}}, "reduce_on_plateau.monitor"),
        ({"reduce_on_plateau": {}, "optimizer": {"type": "SGD"}, "learning_rate": SCHEDULE}, "reduce_on_plateau"),
        (
            {"reduce_on_plateau": {}, "optimizer": {"type": "SGD", "config": {"learning_rate": SCHEDULE}}},
            "reduce_on_plateau",
        ),
        ({"gradient_transformations": [{"type": "Adam"}]}, "gradient_transformations[0].type"),
        ({"gradient_transformations": [{}]}, "gradient_transformations[0].type"),
        ({"gradient_transformations": [{"type": "gradloom>CentralizeGradient"}] * 21}, "gradient_transformations"),
    ],
)
def test_a_broken_rule_of_a_group_is_told_at_its_field_and_nothing_else_is(options: dict[str, Any], field: str) -> None:
    assert list(group_faults(options)) == [field]


@pytest.mark.parametrize(
    "options",
    [
        {"update_every_steps": 10_000, "ema_momentum": 0.999, "clip_norm": 1},
        {"reduce_on_plateau": {"monitor": "accuracy", "factor": 0.5, "patience": 2, "min_learning_rate": 1e-6}},
        {"gradient_transformations": [{"type": "gradloom>CentralizeGradient"}, {"type": "gradloom>NormalizeGradient"}]},
    ],
)
def test_group_options_within_their_ranges_are_accepted(options: dict[str, Any]) -> None:
    assert group_faults(options) == {}


def test_a_frozen_group_has_no_other_option() -> None:
    options = {
        **{"learning_rate": SCHEDULE, "clip_norm": 1, "clip_value": 1, "update_every_steps": 2, "ema_momentum": 0.5},
        **{"unfreeze_at_epoch": 2, "reduce_on_plateau": {}, "gradient_transformations": [{"type": "x"}]},
    }
    job = changed("spec.variable_groups.0.match", ["classifier/**"])
    job.spec.variable_groups.append(copy.deepcopy(changed("spec.variable_groups.0", options).spec.variable_groups[0]))
    rest = job.spec.variable_groups[1]
    rest.name, rest.frozen = "rest", True
    rest.match.append("**")
    told = {fault.field.rpartition(".")[2]: fault.description for fault in faults_of(job)}
    assert told == dict.fromkeys(options, "must be left out: the group is frozen")


def test_a_group_thaws_within_the_epochs_and_not_in_the_first() -> None:
    def faults(epoch: int, epochs: int) -> list[str]:
        job = changed("spec.variable_groups.0.match", ["classifier/**"])
        job.spec.training.epochs = epochs
        job.spec.variable_groups.add().CopyFrom(job.spec.variable_groups[0])
        late = job.spec.variable_groups[1]
        late.name, late.unfreeze_at_epoch = "late", epoch
        return [fault.field for fault in faults_of(job)]

    assert faults(2, epochs=2) == []
    assert faults(1, epochs=2) == ["spec.variable_groups[1].unfreeze_at_epoch"]
    assert faults(3, epochs=2) == ["spec.variable_groups[1].unfreeze_at_epoch"]
    # One fault tells of the epochs that cannot be counted.
    assert faults(3, epochs=0) == ["spec.training.epochs"]


def test_something_is_trained_in_every_epoch() -> None:
    assert list(group_faults({"unfreeze_at_epoch": 2})) == ["spec.variable_groups"]


@pytest.mark.parametrize("key", OUR_OPTIONS)
def test_an_option_of_keras_that_ours_replaces_is_refused_with_ours(key: str) -> None:
    told = group_faults({"optimizer": {"type": "Adam", "config": {key: 1}}})
    names = ("clip_norm", "clip_value", "ema_momentum", "update_every_steps", "precision")
    assert any(name in told[f"optimizer.config.{key}"] for name in names)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps"),
        ({"gradient_accumulation_steps": 33}, "gradient_accumulation_steps"),
        ({"gradient_accumulation_steps": 9, "global_batch_size": 8}, "gradient_accumulation_steps"),
        ({"class_weights": {-1: 1}}, "class_weights[-1]"),
        ({"class_weights": {10: 1}}, "class_weights[10]"),
        ({"class_weights": {3: -0.5}}, "class_weights[3]"),
        ({"class_weights": {3: "NaN"}}, "class_weights[3]"),
        ({"class_weights": dict.fromkeys(range(10), 0)}, "class_weights"),
        ({"checkpoint": {"every_steps": 0}}, "checkpoint.every_steps"),
        ({"checkpoint": {"every_seconds": 0}}, "checkpoint.every_seconds"),
        ({"checkpoint": {"every_seconds": 1e9}}, "checkpoint.every_seconds"),
        ({"checkpoint": {"keep": 0}}, "checkpoint.keep"),
        ({"checkpoint": {"keep": 101}}, "checkpoint.keep"),
        ({"checkpoint": {"best": "val_acuracy"}}, "checkpoint.best"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience"),
        ({"early_stopping": {"min_delta": -1}}, "early_stopping.min_delta"),
        ({"early_stopping": {"monitor": ""}}, "early_stopping.monitor"),
        ({"early_stopping": {"monitor": "test_loss"}}, "early_stopping.monitor"),
        ({"step_timeout_seconds": 0.5}, "step_timeout_seconds"),
        ({"step_timeout_seconds": "Infinity"}, "step_timeout_seconds"),
        ({"stage_timeout_seconds": 0.5}, "stage_timeout_seconds"),
        ({"stage_timeout_seconds": 2_592_001}, "stage_timeout_seconds"),
    ],
)
def test_a_broken_rule_of_training_is_told_at_its_field_and_nothing_else_is(
    options: dict[str, Any], field: str
) -> None:
    assert list(training_faults(options)) == [field]


@pytest.mark.parametrize(
    "options",
    [
        {"steps_per_epoch": 1, "gradient_accumulation_steps": 32, "jit_compile": "AUTO"},
        {"class_weights": {0: 0, 9: 2.5}},
        {"checkpoint": {"every_steps": 1, "every_seconds": 0.5, "keep": 100, "best": "val_accuracy"}},
        {"early_stopping": {"monitor": "accuracy", "patience": 1, "min_delta": 0, "restore_best": False}},
        {"synchronized_batch_normalization": False, "step_timeout_seconds": 1, "stage_timeout_seconds": 1},
    ],
)
def test_options_within_their_ranges_are_accepted(options: dict[str, Any]) -> None:
    assert training_faults(options) == {}


@pytest.mark.parametrize("name", ["precision", "jit_compile"])
@pytest.mark.parametrize("number", [0, 9])
def test_a_number_that_names_nothing_is_refused_with_the_names(name: str, number: int) -> None:
    job = changed("display_name", "x")
    setattr(job.spec.training, name, number)
    (fault,) = faults_of(job)
    assert fault.field == f"spec.training.{name}"
    assert {"precision": "MIXED_BFLOAT16", "jit_compile": "DISABLED"}[name] in fault.description


def test_only_classes_have_weights() -> None:
    job = changed("spec.data.train", {"builtin": {"name": "diabetes"}})
    job.spec.training.class_weights[0] = 2
    assert [fault.field for fault in faults_of(job)] == ["spec.training.class_weights"]


def test_what_is_monitored_exists_at_an_epoch_s_end() -> None:
    def told(monitor: str, validated: bool) -> str:
        return training_faults({"early_stopping": {"monitor": monitor}}, validated).get("early_stopping.monitor", "")

    assert told("val_accuracy", validated=True) == told("loss", validated=False) == ""
    assert "needs data.validation" in told("val_loss", validated=False)
    assert told("val_acc", validated=True) == (
        'must be one of loss, accuracy, val_loss, val_accuracy; got "val_acc"; did you mean "val_accuracy"?'
    )


def test_what_is_monitored_is_checked_however_long_the_parts_of_the_model_are() -> None:
    """The length of a part is a byte before it on the wire, and may be that of a `>`."""
    unchecked = []
    for characters in range(1, 60):
        job = changed("spec.training.early_stopping", {"monitor": "accuarcy"})
        job.spec.model.layers[2].name = "h" * characters
        if [fault.field for fault in faults_of(job)] != ["spec.training.early_stopping.monitor"]:
            unchecked.append(characters)
    assert unchecked == []


def test_a_layer_of_somebody_s_own_may_bring_a_metric_that_is_monitored() -> None:
    job = changed("spec.model.layers.1", {"type": "gradloom>LayerNormalization"})
    job.spec.model.layers.insert(2, changed("display_name", "x").spec.model.layers[1])
    job.spec.training.early_stopping.monitor = "reconstruction_error"
    assert faults_of(job) == []
    # A transformation of gradients brings none.
    transformations = [{"type": "gradloom>CentralizeGradient"}]
    job = changed("spec.variable_groups.0.gradient_transformations", transformations)
    job.spec.training.early_stopping.monitor = "reconstruction_error"
    assert [fault.field for fault in faults_of(job)] == ["spec.training.early_stopping.monitor"]


@pytest.mark.parametrize(
    ("precision", "accepted", "refused"),
    [
        ("FLOAT32", ["float32", "int32", "string"], ["float64", "float16", "bfloat16", "mixed_bfloat16", "half", 3]),
        ("FLOAT64", ["float64", "int32"], ["float32", "mixed_float16"]),
        ("MIXED_BFLOAT16", ["mixed_bfloat16", "float32"], ["float64", "bfloat16", "mixed_float16"]),
        ("MIXED_FLOAT16", ["mixed_float16", "float32"], ["float64", "float16", "mixed_bfloat16"]),
    ],
)
def test_a_layer_computes_as_the_job_does_or_in_float32_among_mixed_ones(
    precision: str, accepted: list[Any], refused: list[Any]
) -> None:
    def fields(dtype: Any) -> list[str]:
        job = changed("spec.model.layers.2.config", {"units": 4, "dtype": dtype})
        job.spec.training.precision = precision
        return [fault.field for fault in faults_of(job)]

    for name in accepted:
        assert fields(name) == []
        assert fields({"class_name": "DTypePolicy", "config": {"name": name}}) == []
    for name in refused:
        assert len(fields(name)) == 1


def test_a_layer_s_precision_is_refused_with_the_option_that_sets_it_for_all() -> None:
    told = faults_with("spec.model.layers.2.config", {"units": 4, "dtype": "mixed_bfloat16"})
    assert "training.precision: MIXED_BFLOAT16" in told["spec.model.layers[2].config.dtype"]
