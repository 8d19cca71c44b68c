"""Models with several outputs: built, checked against their data, trained as Keras does, exported and proven."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom import documents
from gradloom.errors import InvalidRequestError
from gradloom.spec import with_defaults
from gradloom.trainer import datasets, export, models, proof, reference, strategy
from gradloom.trainer.batches import permutation
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.targets import Target, arranged
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(11)
FEATURES = CHANCE.normal(size=(27, 4)).astype(np.float32)
AGE = CHANCE.normal(size=(27, 1)).astype(np.float32)
KIND = CHANCE.integers(0, 3, 27)
SQUARES = keras.losses.MeanSquaredError

SPEC = {
    "model": {
        "name": "two_heads",
        "layers": [
            {"type": "Input", "name": "taken", "config": {"shape": [4]}},
            {"type": "Dense", "name": "body", "config": {"units": 5, "activation": "tanh"}},
            {"type": "Dense", "name": "other", "config": {"units": 5}, "inputs": ["taken"]},
            {"type": "gradloom>MultiLayer", "name": "multi", "inputs": ["body", "other:0"]},
            {"type": "Dense", "name": "kind", "config": {"units": 3}, "inputs": ["multi:1"]},
            {"type": "Dense", "name": "age", "config": {"units": 1}, "inputs": ["multi"]},
        ],
        "outputs": ["kind", "age", "multi:2"],
    },
    "data": {"train": {"npz": {"path": "/data/people.npz", "labels": {"kind": "k", "age": "a", "multi:2": "m"}}}},
    "outputs": {
        "age": {"loss": {"type": "MeanSquaredError"}, "weight": 0.25, "metrics": [{"type": "MeanAbsoluteError"}]},
        "kind": {
            "loss": {"type": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
            "metrics": [{"type": "SparseCategoricalAccuracy", "name": "accuracy"}],
        },
        "multi:2": {"loss": {"type": "MeanSquaredError"}, "weight": 0.0},
    },
    "variable_groups": [
        {"name": "all", "match": ["**"], "optimizer": {"type": "SGD", "config": {"learning_rate": 0.1}}}
    ],
    "training": {"global_batch_size": 9, "seed": 4, "epochs": 2},
}


def spec(**model):
    changed = {**SPEC, "model": {**SPEC["model"], **model}}
    return with_defaults(documents.read_job(json.dumps({"spec": changed})).spec, seed=4)


def people(**changed):
    return Arrays(FEATURES, {"kind": KIND, "age": AGE, "multi:2": np.zeros((27, 5), np.float32), **changed})


def started(arrays, wanted=None):
    wanted = wanted or spec()
    distribution = strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        model = models.build_model(wanted)
    assignment = {path: "all" for path, variable in models.variable_paths(model) if variable.trainable}
    return Training.build(wanted, model, assignment, arrays, None, distribution)


@pytest.fixture(scope="module")
def trained():
    """The training after two epochs, and the scalars of each."""
    training = started(people())
    return training, [training.run_epoch(epoch) for epoch in (1, 2)]


def faults_of(raised):
    return {fault.field: fault.description for fault in raised.value.faults}


def test_a_layer_may_take_several_inputs_and_give_several_outputs():
    model = models.build_model(spec())
    assert models.output_names(model) == ["kind", "age", "multi:2"]
    body, other = (model.get_layer(name).output for name in ("body", "other"))
    apart = keras.Model(model.inputs[0], [body, other, *model.outputs])
    first, second, kind, age, ratio = (value.numpy() for value in apart(FEATURES))
    heads = {name: [value.numpy() for value in model.get_layer(name).variables] for name in ("kind", "age")}
    np.testing.assert_allclose(kind, (first * second) @ heads["kind"][0] + heads["kind"][1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(age, (first + second) @ heads["age"][0] + heads["age"][1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ratio, first / second, rtol=1e-4, atol=1e-5)


@keras.saving.register_keras_serializable("tests_of_targets")
class Heads(keras.Model):
    """Gives its outputs by name or as a tuple."""

    def __init__(self, named=True, **options):
        super().__init__(**options)
        self.named = named
        self.heads = [keras.layers.Dense(width) for width in (2, 1)]

    def call(self, inputs):
        wide, narrow = (head(inputs) for head in self.heads)
        return {"wide": wide, "narrow": narrow} if self.named else (wide, narrow)

    def get_config(self):
        return {**super().get_config(), "named": self.named}


@pytest.mark.parametrize(("named", "names"), [(True, ["narrow", "wide"]), (False, ["inner", "inner:1"])])
def test_outputs_of_a_builder_go_by_their_names_or_by_its_own(named, names, tmp_path):
    model = models.BuiltModel(Heads(named, name="inner"), (4,))
    assert models.output_names(model) == names
    expected = reference.reference_outputs(model, FEATURES)
    assert [output.shape[1] for output in expected] == ([1, 2] if named else [2, 1])
    paths = export.ExportPaths(tmp_path / "export", "inner", 1)
    formats = [spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS]
    export.write_export(paths, model, formats, FEATURES, expected)
    assert reference.prove_keras_file(paths.keras_file, FEATURES, expected).largest_difference < 1e-5
    served = tf.saved_model.load(str(paths.saved_model)).signatures["serving_default"](tf.constant(FEATURES))
    for name, output in zip(names, expected, strict=True):
        np.testing.assert_allclose(served[name], output, rtol=1e-5, atol=1e-6)


def test_an_output_that_a_layer_does_not_have_is_told_with_how_many_it_has():
    with pytest.raises(InvalidRequestError) as raised:
        models.build_model(spec(outputs=["kind", "age", "multi:3"]))
    told = 'must name an output of "multi", which has 3, from 0; got "multi:3"'
    assert faults_of(raised) == {"spec.model.outputs[2]": told}


def test_scalars_are_those_of_keras(trained):
    training, scalars = trained
    losses = ["loss", "kind_loss", "age_loss", "multi:2_loss"]
    assert list(scalars[0]) == [*losses, "kind_accuracy", "age_mean_absolute_error"]
    model = keras.models.clone_model(training.model)
    model.set_weights(training.model.get_weights())
    model.compile(
        loss=[keras.losses.SparseCategoricalCrossentropy(from_logits=True), SQUARES(), SQUARES()],
        loss_weights=[1, 0.25, 0],
        metrics=[["accuracy"], ["mae"], []],
    )
    labels = people().labels
    labels = [labels[name] for name in ("kind", "age", "multi:2")]
    found = model.evaluate(FEATURES, labels, batch_size=9, verbose=0, return_dict=True)
    names = ["loss", "kind_loss", "age_loss", "multi_loss", "kind_accuracy", "age_mae"]
    ours = training.evaluate(people(), "test_")
    assert list(ours.values()) == pytest.approx([found[name] for name in names], rel=1e-5)


def test_weights_are_those_of_keras(trained):
    training, _ = trained
    model = models.build_model(spec())
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=[keras.losses.SparseCategoricalCrossentropy(from_logits=True), SQUARES(), SQUARES()],
        loss_weights=[1, 0.25, 0],
    )
    labels = people().labels
    for epoch in (1, 2):
        order = permutation(27, 4, tf.constant(epoch)).numpy()
        for rows in order.reshape(3, 9):
            model.train_on_batch(FEATURES[rows], [labels[name][rows] for name in ("kind", "age", "multi:2")])
    for ours, theirs in zip(training.model.variables, model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)


def test_one_array_of_labels_is_that_of_every_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in ("low", "high")])
    groups = [Group("all", tuple(model.trainable_variables), keras.optimizers.SGD(0.0))]
    options = spec_pb2.TrainingSpec(global_batch_size=10, seed=4)
    targets = [Target("low", SQUARES()), Target("high", SQUARES())]
    distribution = strategy.make_strategy(strategy.CPU, 1)
    found = Training(model, targets, groups, options, Arrays(FEATURES, AGE), None, distribution).run_epoch(1)
    low, high = (np.mean((output.numpy() - AGE) ** 2) for output in model(FEATURES))
    assert found == pytest.approx({"loss": low + high, "low_loss": low, "high_loss": high}, rel=1e-5)


def test_an_output_without_a_target_and_a_target_without_an_output_are_refused():
    with pytest.raises(InvalidRequestError) as raised:
        arranged([Target("a", SQUARES()), Target("c:1", SQUARES())], ["a", "b"])
    assert faults_of(raised) == {
        "spec.outputs": 'must hold every output of the model; "b" is missing',
        'spec.outputs["c:1"]': 'must be an output of the model: "a", "b"; got "c:1"',
    }
    with pytest.raises(InvalidRequestError, match="is required, with a loss for each"):
        arranged([Target("", SQUARES())], ["a", "b"])


def test_labels_that_do_not_fit_are_told_for_each_output():
    with pytest.raises(DataUnavailable) as raised:
        started(people(kind=KIND + 1, age=np.zeros((27, 2), np.float32)))
    told = [fault.description for fault in raised.value.faults]
    assert len(told) == 2
    assert "labels go from 1 to 3" in told[0]
    assert 'labels have shape [2], the model\'s output "age" [1]' in told[1]


def test_labels_of_a_file_are_read_by_output(tmp_path):
    path = tmp_path / "people.npz"
    np.savez(path, features=FEATURES, k=KIND, a=AGE)
    source = spec_pb2.DataSource(npz=spec_pb2.NpzData(path=str(path), labels={"kind": "k", "age": "a", "again": "a"}))
    arrays = datasets.load(source, "spec.data.train", [str(tmp_path)], [])
    np.testing.assert_array_equal(arrays.labels_of("kind"), KIND)
    np.testing.assert_array_equal(arrays.labels_of("again"), AGE)
    source.npz.labels["age"] = "b"
    with pytest.raises(InvalidRequestError) as raised:
        datasets.load(source, "spec.data.train", [str(tmp_path)], [])
    assert faults_of(raised) == {"spec.data.train.npz.labels.age": 'the file has no array "b"; it has a, features, k'}


def test_every_output_is_exported_by_name_and_proven(trained, tmp_path):
    model = trained[0].model
    paths = export.ExportPaths(tmp_path / "export", "two_heads", 1)
    expected = reference.reference_outputs(model, FEATURES)
    formats = [spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS]
    export.write_export(paths, model, formats, FEATURES, expected)
    assert reference.prove_keras_file(paths.keras_file, FEATURES, expected).largest_difference < 1e-5
    with proof.Prover() as clean:
        assert clean.prove(paths.saved_model, paths.examples).largest_difference < 1e-5
    served = tf.saved_model.load(str(paths.saved_model)).signatures["serving_default"](tf.constant(FEATURES))
    assert served.keys() == {"kind", "age", "multi:2"}
    np.testing.assert_allclose(served["age"], expected[1], rtol=1e-5, atol=1e-5)
    with np.load(paths.examples) as arrays:
        changed = {name: arrays[name] + (name == "outputs/age") for name in arrays.files}
    np.savez(tmp_path / "examples.npz", **changed)
    with proof.Prover() as clean, pytest.raises(proof.ExportDisagreedError, match="by up to 1;"):
        clean.prove(paths.saved_model, tmp_path / "examples.npz")
