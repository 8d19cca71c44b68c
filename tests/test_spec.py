"""The rules of a job, one by one, and its defaults."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from gradloom import documents
from gradloom.catalogue import Catalogue
from gradloom.spec import OwnedDevices, check_job, layer_names, metric_name, struct_to_config, with_defaults
from gradloom.v1 import job_pb2, spec_pb2
from tests.specs import CATALOGUE, ONE_CPU, SOUND, changed, faults_of, faults_with

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_no_faults(path: Path) -> None:
    assert check_job(documents.read_job(path.read_text()), CATALOGUE, (), ONE_CPU) == []


def test_an_empty_job_misses_its_spec() -> None:
    assert [fault.field for fault in faults_of(job_pb2.Job())] == ["spec"]


def test_an_empty_spec_misses_everything_that_is_required_at_once() -> None:
    job = job_pb2.Job(spec=spec_pb2.JobSpec())
    assert [fault.field for fault in faults_of(job)] == ["spec.model", "spec.data", "spec.loss", "spec.variable_groups"]


GROUP = {"name": "all", "match": ["**"], "optimizer": {"type": "SGD"}}
LAYERS = SOUND["spec"]["model"]["layers"]
BUILDER = {"builder": {"type": "gradloom>SparseMLP", "config": {"name": "mlp", "units": 4, "hidden_units": [8]}}}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("display_name", "x" * 201, "display_name"),
        ("display_name", "a\nb", "display_name"),
        ("labels", {"Key": "x"}, 'labels["Key"]'),
        ("labels", {"key": "x" * 64}, 'labels["key"]'),
        ("labels", {f"k{i}": "x" for i in range(65)}, "labels"),
        ("spec.model.name", "1abc", "spec.model.name"),
        ("spec.model.name", "../x", "spec.model.name"),
        ("spec.model.name", "", "spec.model.name"),
        ("spec.model", {}, "spec.model.layers"),
        ("spec.model.keras_config", "{}", "spec.model"),
        ("spec.model.layers.0", {"type": "Flatten"}, "spec.model.layers[0]"),
        ("spec.model.layers.1", {"type": "Input", "config": {"shape": [2]}}, "spec.model.layers[1]"),
        ("spec.model.layers.1.name", "hidden", "spec.model.layers[2].name"),
        ("spec.model.layers.1.name", "a/b", "spec.model.layers[1].name"),
        ("spec.model.layers.2.config", {"units": 3, "name": "other"}, "spec.model.layers[2].config.name"),
        ("spec.model.layers.2.config", {"units": 3, "unit": 3}, "spec.model.layers[2].config.unit"),
        ("spec.model.layers.2.config", {}, "spec.model.layers[2].config.units"),
        ("spec.model.layers.2.config", {"units": 2.5}, "spec.model.layers[2].config.units"),
        (
            "spec.model.layers",
            [*LAYERS[:3], {**LAYERS[2]}, {"type": "Add", "inputs": ["hidden", "flatten"]}],
            "spec.model.layers[3].name",
        ),
        (
            "spec.model.layers.2.config",
            {"units": 3, "activation": {"type": "relu", "config": {"max_value": 6}}},
            "spec.model.layers[2].config.activation.config",
        ),
        ("spec.model.layers.2.inputs", ["nothing"], "spec.model.layers[2].inputs[0]"),
        ("spec.model.layers.2.inputs", ["classifier"], "spec.model.layers[2].inputs[0]"),
        ("spec.model.layers.2.inputs", ["hidden"], "spec.model.layers[2].inputs[0]"),
        ("spec.model.layers.3.inputs", ["flatten"], "spec.model.layers[2]"),
        ("spec.model.layers.0.inputs", ["flatten"], "spec.model.layers[0].inputs"),
        ("spec.model.layers.0.config", {}, "spec.model.layers[0].config.shape"),
        ("spec.model.layers.0.config", {"shape": [8, 0]}, "spec.model.layers[0].config.shape[1]"),
        ("spec.model.layers.0.config", {"shape": [-1]}, "spec.model.layers[0].config.shape[0]"),
        ("spec.model.layers.0.config", {"shape": [True]}, "spec.model.layers[0].config.shape[0]"),
        ("spec.model.layers.0.config", {"shape": 8}, "spec.model.layers[0].config.shape"),
        ("spec.model.layers.0.config", {"batch_shape": [32, 8]}, "spec.model.layers[0].config.batch_shape"),
        ("spec.model.layers.0.config", {"shape": [8], "batch_size": 4}, "spec.model.layers[0].config.batch_size"),
        ("spec.model.layers.0.config", {"shape": [8], "sparse": True}, "spec.model.layers[0].config.sparse"),
        ("spec.model.layers.0.config", {"shape": [8], "dtype": "float16"}, "spec.model.layers[0].config.dtype"),
        (
            "spec.model.layers.1",
            {"type": "TimeDistributed", "config": {"layer": {"type": "Dense", "name": "a/b", "config": {"units": 1}}}},
            "spec.model.layers[1].config.layer.name",
        ),
        (
            "spec.model.layers.2.config",
            {"units": 1, "kernel_initializer": {"type": "Zeros", "name": "a"}},
            "spec.model.layers[2].config.kernel_initializer.name",
        ),
        ("spec.model.outputs", ["nothing"], "spec.model.outputs[0]"),
        ("spec.model.outputs", ["hidden", "classifier"], "spec.outputs"),
        ("spec.model.outputs", ["classifier:x"], "spec.model.outputs[0]"),
        ("spec.model.layers.2.inputs", ["flatten:one"], "spec.model.layers[2].inputs[0]"),
        ("spec.model.builder", {"type": "gradloom>SparseMLP"}, "spec.model"),
        ("spec.model", {"builder": {}}, "spec.model.builder.type"),
        ("spec.model", {"builder": {"type": "gradloom>SparseMPL"}}, "spec.model.builder.type"),
        ("spec.model", {"builder": {"type": "Dense"}}, "spec.model.builder.type"),
        ("spec.model", {"builder": {"type": "gradloom>SparseMLP", "name": "x"}}, "spec.model.builder.name"),
        ("spec.model", {**BUILDER, "name": "mlp", "outputs": ["a"]}, "spec.model.outputs"),
        ("spec.model", {**BUILDER, "name": "other"}, "spec.model.builder.config.name"),
        ("spec.model.initial_weights", {}, "spec.model.initial_weights.job"),
        ("spec.model.initial_weights", {"job": "a", "match": [""]}, "spec.model.initial_weights.match[0]"),
        ("spec.model.outputs", ["hidden"], "spec.model.layers[3]"),
        ("spec.data", {}, "spec.data.train"),
        ("spec.data.train", {}, "spec.data.train"),
        ("spec.data.train.npz", {"path": "/x"}, "spec.data.train"),
        ("spec.data.train.builtin.name", "minst", "spec.data.train.builtin.name"),
        ("spec.data.train.builtin.name", "", "spec.data.train.builtin.name"),
        ("spec.data.train.builtin.split", "validation", "spec.data.train.builtin.split"),
        ("spec.data.train.range", {"from": -1}, "spec.data.train.range.from"),
        ("spec.data.train.range", {"from": 5, "to": 5}, "spec.data.train.range.to"),
        ("spec.data.train.range", {"to": 0}, "spec.data.train.range.to"),
        ("spec.data.train.range", {"to": 1438}, "spec.data.train.range.to"),
        ("spec.data.train.range", {"from": 1437}, "spec.data.train.range.from"),
        ("spec.data.train", {"npz": {}}, "spec.data.train.npz.path"),
        ("spec.loss", {}, "spec.loss.type"),
        ("spec.loss.type", "sparse_categorical_crossentropy", "spec.loss.type"),
        ("spec.loss.type", "Dense", "spec.loss.type"),
        ("spec.loss.config", {"reduction": "sum"}, "spec.loss.config.reduction"),
        ("spec.metrics", [{"type": "SparseCategoricalAccuracy"}] * 2, "spec.metrics[1].name"),
        ("spec.metrics", [{"type": "Accuracy", "name": "loss"}], "spec.metrics[0].name"),
        ("spec.metrics", [{"type": "Accuracy", "name": "val_x"}], "spec.metrics[0].name"),
        ("spec.metrics", [{"type": "Acuracy"}], "spec.metrics[0].type"),
        ("spec.metrics", [{"type": "Accuracy"}] * 101, "spec.metrics"),
        ("spec.variable_groups", [], "spec.variable_groups"),
        ("spec.variable_groups", [GROUP] * 101, "spec.variable_groups"),
        ("spec.variable_groups", [GROUP, GROUP], "spec.variable_groups[1].name"),
        ("spec.variable_groups", [{**GROUP, "name": "A b"}], "spec.variable_groups[0].name"),
        ("spec.variable_groups", [{"match": ["**"], "optimizer": {"type": "SGD"}}], "spec.variable_groups[0].name"),
        ("spec.variable_groups", [{**GROUP, "match": []}], "spec.variable_groups[0].match"),
        ("spec.variable_groups", [{"name": "a", "match": ["**"]}], "spec.variable_groups[0].optimizer"),
        ("spec.variable_groups", [{"name": "a", "match": ["**"], "frozen": True}], "spec.variable_groups"),
        ("spec.variable_groups", [GROUP, {**GROUP, "name": "b", "frozen": True}], "spec.variable_groups[1].optimizer"),
        ("spec.variable_groups.0.clip_norm", 0, "spec.variable_groups[0].clip_norm"),
        ("spec.variable_groups.0.clip_norm", "NaN", "spec.variable_groups[0].clip_norm"),
        ("spec.variable_groups.0.clip_value", -1, "spec.variable_groups[0].clip_value"),
        ("spec.variable_groups", [{**GROUP, "clip_norm": 1, "clip_value": 1}], "spec.variable_groups[0].clip_value"),
        ("spec.variable_groups.0.optimizer.type", "adm", "spec.variable_groups[0].optimizer.type"),
        ("spec.variable_groups.0.optimizer.config", {"lr": 1}, "spec.variable_groups[0].optimizer.config.lr"),
        (
            "spec.variable_groups.0.learning_rate",
            {"type": "ExponentialDecay", "config": {"initial_learning_rate": 1, "decay_steps": 5, "decay_rate": 0.5}},
            "spec.variable_groups[0].learning_rate",
        ),
        ("spec.training.epochs", 0, "spec.training.epochs"),
        ("spec.training.global_batch_size", 0, "spec.training.global_batch_size"),
        ("spec.training.steps_per_loop", 0, "spec.training.steps_per_loop"),
        ("spec.training.scalars_every_steps", 0, "spec.training.scalars_every_steps"),
        ("spec.training.seed", 2**31, "spec.training.seed"),
        ("spec.training.seed", -1, "spec.training.seed"),
        ("spec.training.clip_norm", "Infinity", "spec.training.clip_norm"),
        ("spec.export", {}, "spec.export.formats"),
        ("spec.export.formats", ["KERAS", "KERAS"], "spec.export.formats[1]"),
        ("spec.resources", {"gpus": 1}, "spec.resources.gpus"),
        ("spec.resources", {"gpus": 0}, "spec.resources.gpus"),
        ("spec.resources", {"gpus": 1, "cpu_replicas": 2}, "spec.resources"),
        ("spec.resources", {"cpu_replicas": 17}, "spec.resources.cpu_replicas"),
        ("spec.retry", {"max_attempts": 0}, "spec.retry.max_attempts"),
        ("spec.retry", {"max_attempts": 21}, "spec.retry.max_attempts"),
        ("spec.retry", {"backoff": {"initial_duration": "300.1s"}}, "spec.retry.backoff.initial_duration"),
        ("spec.retry", {"backoff": {"initial_duration": "-1s"}}, "spec.retry.backoff.initial_duration"),
        ("spec.retry", {"backoff": {"max_duration": "0.9s"}}, "spec.retry.backoff.max_duration"),
        (
            "spec.retry",
            {"backoff": {"initial_duration": "20s", "max_duration": "19s"}},
            "spec.retry.backoff.max_duration",
        ),
        ("spec.retry", {"retry_on": ["KILLED_BY_SIGNAL", "KILLED"]}, "spec.retry.retry_on[1]"),
        ("spec.retry", {"retry_on": ["SPEC_REFUSED"]}, "spec.retry.retry_on[0]"),
        ("spec.retry", {"retry_on": ["PREEMPTED"]}, "spec.retry.retry_on[0]"),
        ("spec.retry", {"retry_on": ["STEP_HUNG", "STEP_HUNG"]}, "spec.retry.retry_on[1]"),
        ("spec.retry", {"retry_on": ["x"] * 1000}, "spec.retry.retry_on"),
        ("spec.scheduling", {"max_run_duration": "0.999s"}, "spec.scheduling.max_run_duration"),
        ("spec.training", {"epochs": 1 << 16, "steps_per_epoch": 1 << 15}, "spec.training.epochs"),
        ("spec.scheduling", {"max_queue_duration": "0s"}, "spec.scheduling.max_queue_duration"),
    ],
)
def test_a_broken_rule_is_told_at_its_field_and_nothing_else_is(path: str, value: Any, field: str) -> None:
    assert list(faults_with(path, value)) == [field]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.layers.2.config", {"units": 4, "name": "hidden"}),
        ("spec.model.layers.2.config", {"units": 4, "kernel_regularizer": {"type": "L2", "config": {"l2": 1}}}),
        ("spec.model.layers.2.config", {"units": 4, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}}),
        ("spec.model.layers.2.config", {"units": 4, "kernel_regularizer": "l2", "activation": "hard_swish"}),
        (
            "spec.model.layers.2.config",
            {"units": 4, "activation": {"type": "LeakyReLU", "config": {"negative_slope": 0.1}}},
        ),
        (
            "spec.model.layers.2.config",
            {"units": 4, "dtype": {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "float32"}}},
        ),
        ("spec.model.layers.2.config", {"units": 4.0, "activation": None}),
        ("spec.model.layers.2.config", {"units": 4, "activation": {"type": "relu"}}),
        ("spec.model.layers.2.config", {"units": 4, "activation": {"class_name": "hard_swish", "config": {}}}),
        ("spec.variable_groups.0.optimizer.config", {"learning_rate": 0}),
        (
            "spec.model.layers.0",
            {"type": "InputLayer", "config": {"batch_shape": [None, 8, 8], "dtype": "float32", "sparse": False}},
        ),
        ("spec.model.layers", [*LAYERS[:3], {"type": "Add", "inputs": ["hidden", "hidden"]}, LAYERS[3]]),
        ("spec.model.outputs", ["classifier"]),
        ("spec.model.outputs", ["classifier:0"]),
        ("spec.model.layers.2.inputs", ["flatten:0"]),
        ("spec.model", {**BUILDER, "name": "mlp"}),
        ("spec.model.initial_weights", {"job": "projects/default/jobs/a", "match": ["hidden/**"]}),
        ("spec.data.train.range", {"from": 1436, "to": 1437}),
        ("spec.loss.config", {"reduction": "sum_over_batch_size"}),
        ("spec.variable_groups", [GROUP, {"name": "b", "match": ["hidden/**"], "frozen": True}]),
        (
            "spec.variable_groups.0.optimizer.config",
            {"learning_rate": {"type": "CosineDecay", "config": {"initial_learning_rate": 1, "decay_steps": 10}}},
        ),
        ("spec.training.seed", 2**31 - 1),
        ("spec.resources", {"cpu_replicas": 16}),
    ],
)
def test_what_is_right_is_accepted(path: str, value: Any) -> None:
    assert faults_with(path, value) == {}


def test_an_unknown_name_comes_with_the_nearest_known_one() -> None:
    assert (
        'did you mean "units"?'
        in faults_with("spec.model.layers.2.config", {"units": 1, "unit": 3})["spec.model.layers[2].config.unit"]
    )
    assert (
        'did you mean "gradloom>LayerNormalization"?'
        in faults_with("spec.model.layers.1.type", "gradloom>LayerNormalisation")["spec.model.layers[1].type"]
    )
    assert (
        'did you mean "fashion_mnist"?'
        in faults_with("spec.data.train.builtin.name", "fashionmnist")["spec.data.train.builtin.name"]
    )
    assert (
        'did you mean "SparseCategoricalCrossentropy"?'
        in faults_with("spec.loss.type", "sparse_categorical_crossentropy")["spec.loss.type"]
    )


SCHEDULE = {"type": "ExponentialDecay", "config": {"initial_learning_rate": -1, "decay_steps": 5, "decay_rate": 0.5}}


@pytest.mark.parametrize(
    ("group", "field"),
    [
        ({"optimizer": {"type": "Adam", "config": {"learning_rate": -1}}}, "optimizer.config.learning_rate"),
        (
            {"optimizer": {"type": "SGD", "config": {"learning_rate": SCHEDULE}}},
            "optimizer.config.learning_rate.config.initial_learning_rate",
        ),
        ({"learning_rate": SCHEDULE}, "learning_rate.config.initial_learning_rate"),
    ],
)
def test_a_negative_learning_rate_is_refused_wherever_it_stands(group: dict[str, Any], field: str) -> None:
    faults = faults_with("spec.variable_groups", [{**GROUP, **group}])
    assert faults == {f"spec.variable_groups[0].{field}": "must be at least 0; got -1"}


def test_a_kind_has_its_article() -> None:
    (told,) = faults_with("spec.variable_groups.0.optimizer.type", "adm").values()
    assert told.startswith("must be an optimizer of the catalogue")
    (told,) = faults_with("spec.model.layers.2.type", "Dens").values()
    assert told.startswith("must be a layer of the catalogue")


def test_an_unknown_data_set_does_not_hide_a_split_that_none_has() -> None:
    told = faults_with("spec.data.train.builtin", {"name": "mnst", "split": "val"})
    assert told.keys() == {"spec.data.train.builtin.name", "spec.data.train.builtin.split"}


@pytest.mark.parametrize(
    ("resources", "owned", "field"),
    [
        ({"gpus": 2}, OwnedDevices(2, 1), None),
        ({"gpus": 3}, OwnedDevices(2, 1), "spec.resources.gpus"),
        ({}, OwnedDevices(2, 0), None),
        ({"cpu_replicas": 2}, OwnedDevices(2, 0), "spec.resources.cpu_replicas"),
        ({}, OwnedDevices(0, 0), "spec.resources.cpu_replicas"),
    ],
)
def test_no_more_devices_than_the_server_owns(resources: Any, owned: OwnedDevices, field: str | None) -> None:
    faults = faults_of(changed("spec.resources", resources), owned=owned)
    assert [fault.field for fault in faults] == ([field] if field else [])


def test_every_fault_of_a_spec_is_told_at_once() -> None:
    job = changed("spec.training", {"epochs": 0, "seed": -1})
    job.spec.model.layers[2].type = "Dens"
    job.spec.loss.type = "Mean"
    job.spec.variable_groups[0].clip_norm = -1
    assert len(faults_of(job)) == 5


@pytest.mark.parametrize(
    ("seconds", "nanos", "told"),
    [
        (5, -1, "must have nanos below a second, with the sign of its seconds; got 5 and -1"),
        (5, 2_000_000_000, "must have nanos below a second, with the sign of its seconds; got 5 and 2000000000"),
        (1 << 62, 0, "must lie between 1s and 315576000000s; got 4.61168601843e+18s"),
    ],
)
def test_a_duration_that_is_none_is_told_why(seconds: int, nanos: int, told: str) -> None:
    job = changed("spec.scheduling", {})
    job.spec.scheduling.max_run_duration.CopyFrom(Duration(seconds=seconds, nanos=nanos))
    assert {fault.field: fault.description for fault in faults_of(job)} == {"spec.scheduling.max_run_duration": told}


def test_a_fault_of_a_duration_or_a_reason_names_rule_and_value() -> None:
    faults = faults_with("spec.retry", {"backoff": {"initial_duration": "301s"}, "retry_on": ["KILLED_BY_SIGNALS"]})
    assert faults["spec.retry.backoff.initial_duration"] == "must lie between 0s and 300s; got 301s"
    assert 'got "KILLED_BY_SIGNALS"; did you mean "KILLED_BY_SIGNAL"?' in faults["spec.retry.retry_on[0]"]
    faults = faults_with("spec.scheduling", {"max_run_duration": "0.5s"})
    assert faults["spec.scheduling.max_run_duration"] == "must be at least 1s; got 0.5s"


def test_a_duration_that_only_bytes_can_hold_is_refused() -> None:
    job = changed("display_name", "x")
    job.spec.scheduling.max_run_duration.CopyFrom(Duration(seconds=2**62, nanos=2**31 - 1))
    job.spec.retry.backoff.initial_duration.CopyFrom(Duration(seconds=1, nanos=-(2**31)))
    fields = [fault.field for fault in faults_of(job)]
    assert fields == ["spec.retry.backoff.initial_duration", "spec.scheduling.max_run_duration"]


def test_defaults_are_filled_once_and_for_all() -> None:
    spec = with_defaults(changed("display_name", "x").spec, seed=7)
    assert with_defaults(spec, seed=8) == spec
    assert [layer.name for layer in spec.model.layers] == ["input", "flatten", "hidden", "classifier"]
    assert list(spec.model.outputs) == ["classifier"]
    assert (spec.training.epochs, spec.training.global_batch_size, spec.training.seed) == (1, 32, 7)
    assert spec.data.train.builtin.split == "train"
    assert list(spec.export.formats) == [spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS]
    assert spec.retry == spec_pb2.RetrySpec(
        max_attempts=3,
        backoff=spec_pb2.RetryBackoff(initial_duration=Duration(seconds=1), max_duration=Duration(seconds=300)),
    )
    assert spec.scheduling == spec_pb2.SchedulingSpec(preemptible=False)
    training = spec.training
    assert (training.precision, training.jit_compile) == (spec_pb2.TrainingSpec.FLOAT32, spec_pb2.TrainingSpec.DISABLED)
    assert training.gradient_accumulation_steps == 1
    assert (training.step_timeout_seconds, training.stage_timeout_seconds) == (600, 1800)
    assert training.synchronized_batch_normalization
    assert training.checkpoint == spec_pb2.CheckpointSpec(every_seconds=30, keep=2, best="loss")
    assert spec.variable_groups[0].update_every_steps == 1
    assert not spec.data.HasField("validation")
    for unset in ("steps_per_loop", "steps_per_epoch", "scalars_every_steps", "early_stopping", "clip_norm"):
        assert not spec.training.HasField(unset)


def test_what_is_monitored_is_by_default_the_loss_of_the_validation_data_where_there_are_some() -> None:
    job = changed("spec.data.validation", {"builtin": {"name": "digits", "split": "test"}})
    job.spec.training.early_stopping.SetInParent()
    job.spec.variable_groups[0].reduce_on_plateau.SetInParent()
    filled = with_defaults(job.spec, seed=1)
    assert filled.training.early_stopping == spec_pb2.EarlyStopping(
        monitor="val_loss", patience=1, min_delta=0, restore_best=True
    )
    assert filled.variable_groups[0].reduce_on_plateau == spec_pb2.ReduceOnPlateau(
        monitor="val_loss", factor=0.1, patience=10, min_learning_rate=0
    )
    assert filled.training.checkpoint.best == "val_loss"
    job.spec.training.early_stopping.monitor = "val_accuracy"
    assert with_defaults(job.spec, seed=1).training.checkpoint.best == "val_accuracy"


def test_a_checkpoint_by_steps_alone_is_not_also_made_by_time() -> None:
    filled = with_defaults(changed("spec.training.checkpoint", {"every_steps": 5}).spec, seed=1)
    assert not filled.training.checkpoint.HasField("every_seconds")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_spec_with_its_defaults_is_sound_again(path: Path) -> None:
    job = documents.read_job(path.read_text())
    job.spec.CopyFrom(with_defaults(job.spec, seed=1))
    assert faults_of(documents.job_from_dict(documents.job_to_dict(job))) == []
    assert with_defaults(job.spec, seed=2) == job.spec


def test_the_spec_that_was_asked_for_is_not_changed_by_its_defaults() -> None:
    spec = changed("display_name", "x").spec
    before = spec.SerializeToString(deterministic=True)
    with_defaults(spec, seed=1)
    assert spec.SerializeToString(deterministic=True) == before


def test_layers_without_a_name_are_numbered_from_the_second_on_past_given_names() -> None:
    types = ["Input", "MaxPooling2D", "Dense", "MaxPooling2D", "Dense", "gradloom>LayerNormalization", "Dense"]
    layers = [spec_pb2.LayerSpec(type=type) for type in types]
    layers[6].name = "dense_1"
    assert layer_names(layers) == [
        *("input", "max_pooling2d", "dense", "max_pooling2d_1", "dense_2", "layer_normalization", "dense_1"),
    ]


def test_a_metric_has_the_name_that_keras_gives_it() -> None:
    assert metric_name(spec_pb2.Component(type="SparseCategoricalAccuracy")) == "sparse_categorical_accuracy"
    assert metric_name(spec_pb2.Component(type="AUC")) == "auc"
    assert metric_name(spec_pb2.Component(type="AUC", name="area")) == "area"


def test_numbers_become_what_the_catalogue_says() -> None:
    entry = Catalogue.load().get("layer", "Dense")
    job = changed(
        "spec.model.layers.2.config", {"units": 4.0, "kernel_regularizer": {"type": "L2", "config": {"l2": 1}}}
    )
    config = struct_to_config(job.spec.model.layers[2].config, entry)
    assert repr(config["units"]) == "4"
    assert repr(config["kernel_regularizer"]["config"]["l2"]) == "1.0"


def test_numbers_of_an_activation_that_is_a_layer_become_floats() -> None:
    activation = {"type": "LeakyReLU", "config": {"negative_slope": 1}}
    job = changed("spec.model.layers.2.config", {"units": 4, "activation": activation})
    config = struct_to_config(job.spec.model.layers[2].config, Catalogue.load().get("layer", "Dense"))
    assert repr(config["activation"]["config"]["negative_slope"]) == "1.0"
