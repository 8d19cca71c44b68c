"""From a spec to Keras objects."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom import components, documents
from gradloom.catalogue import Catalogue
from gradloom.errors import InvalidRequestError
from gradloom.spec import assign_groups, with_defaults
from gradloom.trainer import models
from gradloom.trainer.construction import refusing
from gradloom.v1 import spec_pb2
from tests.specs import SOUND, changed, faults_of

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))
LAYERS = SOUND["spec"]["model"]["layers"]


def spec_with(path: str, value: Any, seed: int = 3) -> spec_pb2.JobSpec:
    return with_defaults(changed(path, value).spec, seed)


def faults_in(path: str, value: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        models.build_model(spec_with(path, value))
    return {fault.field: fault.description for fault in caught.value.faults}


def feature_shape(spec: spec_pb2.JobSpec) -> tuple[int, ...]:
    entry = Catalogue.load().get("dataset", spec.data.train.builtin.name)
    assert entry is not None
    assert entry.dataset is not None
    return entry.dataset.feature_shape


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_builds_and_every_variable_has_its_group(path: Path) -> None:
    spec = with_defaults(documents.read_job(path.read_text()).spec, seed=1)
    model = models.build_model(spec, (), lambda: feature_shape(spec))
    assert model.name == spec.model.name
    trainable = [name for name, variable in models.variable_paths(model) if variable.trainable]
    assert set(assign_groups(trainable, spec.variable_groups).values()) == {
        group.name for group in spec.variable_groups
    }
    (target,) = models.build_targets(spec)
    assert target.loss.name in ("sparse_categorical_crossentropy", "binary_crossentropy", "huber", "poisson", "cauchy")
    assert [metric.name for metric in target.metrics] == [metric.name for metric in spec.metrics]
    for group in spec.variable_groups:
        optimizer = models.build_optimizer(group, "it")
        wanted = group.optimizer.config.fields["learning_rate"].number_value
        assert float(optimizer.learning_rate) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if "builder:" not in path.read_text()], ids=lambda path: path.stem
)
def test_a_model_built_from_its_own_json_is_the_same_model(path: Path) -> None:
    job = documents.read_job(path.read_text())
    first = models.build_model(job.spec)
    del job.spec.model.layers[:]
    job.spec.model.keras_config = first.to_json()
    assert faults_of(job) == []
    second = models.build_model(job.spec)
    assert [path for path, _ in models.variable_paths(first)] == [path for path, _ in models.variable_paths(second)]
    for ours, theirs in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_seed_alone_decides_the_weights() -> None:
    first, again = (models.build_model(spec_with("display_name", "x", seed=3)) for _ in range(2))
    other = models.build_model(spec_with("display_name", "x", seed=4))
    for ours, theirs in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(first.weights[0] - other.weights[0]).max() > 0.01


def test_neither_a_global_policy_nor_an_image_format_changes_the_model() -> None:
    keras.config.set_dtype_policy("float16")
    keras.config.set_image_data_format("channels_first")
    model = models.build_model(spec_with("display_name", "x"))
    assert {str(variable.dtype) for variable in model.variables} == {"float32"}
    assert keras.config.image_data_format() == "channels_last"


def test_layers_can_form_a_graph() -> None:
    layers = [
        *LAYERS[:2],
        {"type": "Dense", "name": "left", "config": {"units": 4}},
        {"type": "Dense", "name": "right", "inputs": ["flatten"], "config": {"units": 4}},
        {"type": "Concatenate", "inputs": ["left", "right"]},
        {"type": "Dense", "name": "out", "config": {"units": 2}},
    ]
    model = models.build_model(spec_with("spec.model.layers", layers))
    assert model.output_shape == (None, 2)
    assert dict(models.variable_paths(model))["out/kernel"].shape == (8, 2)


def test_nested_components_are_built_from_either_spelling() -> None:
    for key in ("type", "class_name"):
        config = {"units": 2, "kernel_regularizer": {key: "L2", "config": {"l2": 1}}, "activation": {key: "LeakyReLU"}}
        model = models.build_model(spec_with("spec.model.layers.2.config", config))
        layer = model.get_layer("hidden")
        assert layer.kernel_regularizer.l2 == 1.0
        assert isinstance(layer.activation, keras.layers.LeakyReLU)


def test_an_activation_written_as_a_component_is_the_function_itself() -> None:
    for key in ("type", "class_name"):
        config = {"units": 2, "activation": {key: "relu", "config": {}}}
        layer = models.build_model(spec_with("spec.model.layers.2.config", config)).get_layer("hidden")
        assert layer.activation is keras.activations.relu
    inputs = {"class_name": "InputLayer", "config": {"batch_shape": [None, 8]}}
    dense = {"class_name": "Dense", "config": {"units": 2, "activation": {"class_name": "relu"}}}
    text = json.dumps({"class_name": "Sequential", "config": {"layers": [inputs, dense]}})
    model = models.build_model(spec_with("spec.model", {"keras_config": text}))
    assert model.layers[-1].activation is keras.activations.relu
    config = {"units": 2, "activation": {"type": "relu", "config": {"max_value": 6}}}
    told = faults_in("spec.model.layers.2.config", config)
    assert "takes no config" in told["spec.model.layers[2].config.activation.config"]


def test_our_own_objects_are_found_by_their_names_within_a_layer() -> None:
    config = {
        "units": 2,
        "activation": "gradloom>stable_softplus",
        "kernel_initializer": "gradloom>GlorotNormal",
        "kernel_regularizer": {"type": "gradloom>L1", "config": {"factor": 0.5}},
        "bias_constraint": "gradloom>NonNegative",
    }
    job = changed("spec.model.layers.2.config", config)
    assert faults_of(job) == []
    first = models.build_model(with_defaults(job.spec, 3))
    nested = json.loads(first.to_json())
    # A name alone, where Keras itself writes a whole component.
    nested["config"]["layers"][2]["config"]["bias_constraint"] = "gradloom>NonNegative"
    keras_config = changed("spec.model", {"name": "small", "keras_config": json.dumps(nested)})
    assert faults_of(keras_config) == []
    for model in (first, models.build_model(keras_config.spec)):
        layer = model.get_layer("hidden")
        assert layer.activation is components.stable_softplus
        assert layer.kernel_regularizer.factor == 0.5
        assert isinstance(layer.kernel_initializer, components.GlorotNormal)
        assert isinstance(layer.bias_constraint, components.NonNegative)


def test_a_loss_may_be_a_plain_function() -> None:
    job = changed("spec.loss", {"type": "gradloom>cauchy", "name": "robust"})
    assert faults_of(job) == []
    (target,) = models.build_targets(job.spec)
    labels, outputs = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 4.0], [0.0, 4.0]])
    expected = np.log1p((labels - outputs) ** 2 / 2).mean()
    assert target.loss.name == "robust"
    assert float(target.loss(labels, outputs)) == pytest.approx(expected, rel=1e-6)
    assert models.build_targets(changed("spec.loss", {"type": "gradloom>cauchy"}).spec)[0].loss.name == "cauchy"


def test_paths_start_with_the_models_own_layer_however_it_was_made() -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="inner")
    inputs = keras.Input((4,))
    functional_inner = keras.Model(inputs, keras.layers.Dense(3, name="d")(inputs), name="other")
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dropout(0.5, name="drop")], name="inner_model")
    assert [path for path, _ in models.variable_paths(outer)] == [
        *("inner/d/kernel", "inner/d/bias", f"drop/{outer.layers[1].seed_generator.name}/seed_generator_state"),
    ]
    wrapped = keras.Model(inputs, functional_inner(inputs), name="wrapped")
    assert [path for path, _ in models.variable_paths(wrapped)] == ["other/d/kernel", "other/d/bias"]


def test_what_keras_refuses_is_a_fault_of_its_layer_all_layers_at_once() -> None:
    layers = [
        LAYERS[0],
        {"type": "Dense", "config": {"units": -3}},
        {"type": "Dropout", "config": {"rate": 7}},
        {"type": "Flatten"},
    ]
    assert faults_in("spec.model.layers", layers).keys() == {"spec.model.layers[1]", "spec.model.layers[2]"}


def test_shapes_that_do_not_fit_are_a_fault_of_the_layer_that_gets_them() -> None:
    layers = [LAYERS[0], {"type": "Conv2D", "config": {"filters": 1, "kernel_size": 3}}]
    assert faults_in("spec.model.layers", layers).keys() == {"spec.model.layers[1]"}


def test_the_name_of_a_layer_with_several_outputs_is_that_of_the_first() -> None:
    layers = [LAYERS[0], {"type": "LSTM", "name": "memory", "config": {"units": 2, "return_state": True}}]
    model = models.build_model(spec_with("spec.model.layers", layers))
    assert (models.output_names(model), model.outputs[0].shape) == (["memory"], (None, 2))
    assert model.outputs[0] is model.get_layer("memory").output[0]


def test_a_schedule_of_the_group_is_the_optimizers_learning_rate() -> None:
    schedule = {
        "type": "ExponentialDecay",
        "config": {"initial_learning_rate": 1, "decay_steps": 10, "decay_rate": 0.5},
    }
    group = {"name": "all", "match": ["**"], "optimizer": {"type": "Adam"}, "learning_rate": schedule}
    spec = spec_with("spec.variable_groups", [group])
    optimizer = models.build_optimizer(spec.variable_groups[0], "it")
    model = models.build_model(spec)
    optimizer.build(model.trainable_variables)
    assert float(optimizer.learning_rate) == pytest.approx(1.0)
    optimizer.iterations.assign(10)
    assert float(optimizer.learning_rate) == pytest.approx(0.5)


def test_a_vocabulary_is_read_from_within_the_data_roots_only(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "words.txt").write_text("a\nb\n")
    (tmp_path / "secret.txt").write_text("s\n")
    layers = [{"type": "Input", "config": {"shape": [1], "dtype": "string"}}, {"type": "StringLookup", "config": {}}]
    for name, allowed in (("roots/words.txt", True), ("secret.txt", False), ("roots/../secret.txt", False)):
        layers[1]["config"] = {"vocabulary": str(tmp_path / name)}
        spec = spec_with("spec.model.layers", layers)
        if allowed:
            assert models.build_model(spec, [str(tmp_path / "roots")]).layers[-1].vocabulary_size() == 3
        else:
            with pytest.raises(InvalidRequestError, match="data roots"):
                models.build_model(spec, [str(tmp_path / "roots")])
    with pytest.raises(InvalidRequestError, match="data roots"):
        models.build_model(spec_with("spec.model.layers", layers))


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Lambda", "config": {"function": "x"}},
        {"module": "os", "class_name": "Dense", "config": {"units": 1}},
        {
            "module": "keras.layers",
            "class_name": "Dense",
            "config": {"units": 1, "kernel_initializer": {"class_name": "__lambda__", "config": {}}},
        },
    ],
)
def test_the_trainer_itself_refuses_a_hostile_keras_config(layer: dict[str, Any]) -> None:
    inputs = {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8]}}
    text = json.dumps({"class_name": "Sequential", "config": {"layers": [inputs, layer]}})
    assert all(field.startswith("spec.model.keras_config") for field in faults_in("spec.model", {"keras_config": text}))


def test_what_nobody_named_has_the_same_path_in_every_model() -> None:
    layers = [
        LAYERS[0],
        {"type": "Bidirectional", "config": {"layer": {"type": "LSTM", "config": {"units": 2}}}},
        {"type": "Dropout", "config": {"rate": 0.5}},
    ]
    first, second = (models.build_model(spec_with("spec.model.layers", layers)) for _ in range(2))
    paths = [path for path, _ in models.variable_paths(first)]
    assert paths == [path for path, _ in models.variable_paths(second)]
    assert len(paths) == len(set(paths))
    assert all(path.split("/")[0] in ("bidirectional", "dropout") for path in paths)


def test_a_nested_layer_keeps_the_name_it_is_given() -> None:
    wrapped = {"type": "Dense", "name": "inner", "config": {"units": 2}}
    layers = [LAYERS[0], {"type": "TimeDistributed", "config": {"layer": wrapped}}]
    model = models.build_model(spec_with("spec.model.layers", layers))
    assert model.layers[-1].layer.name == "inner"


def test_a_network_may_be_deeper_than_pythons_recursion_limit() -> None:
    layers = [*LAYERS[:2], *[{"type": "Activation", "config": {"activation": "relu"}}] * 600]
    assert len(models.build_model(spec_with("spec.model.layers", layers)).layers) == 602


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "out of memory")])
def test_memory_that_runs_out_is_not_called_a_fault_of_the_spec(error: Exception) -> None:
    with pytest.raises(type(error)), refusing("spec.model.layers[2]"):
        raise error
