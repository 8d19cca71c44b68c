"""Jobs from live Keras objects: what the SDK sends is what the server takes and the trainer builds again."""

import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from gradloom.catalogue import Catalogue
from gradloom.client.submission import draft_from_parts, with_user_code
from gradloom.documents import Draft
from gradloom.errors import InvalidRequestError
from gradloom.spec import with_defaults
from gradloom.trainer import installed, models
from gradloom.trainer.construction import build_component
from gradloom.v1 import job_pb2
from tests.own_packages import PACKAGES, own_catalogue
from tests.specs import faults_of

DATA = {"train": {"builtin": {"name": "digits"}}}


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package of a team, installed where the client runs and where the server does."""
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    monkeypatch.syspath_prepend(PACKAGES)
    installed.packages.cache_clear()
    with own_catalogue():
        installed.packages()
        yield sys.modules["acme_layers"]
    del sys.modules["acme_layers"]
    registry.clear()
    registry.update(before)
    installed.packages.cache_clear()


def job_of(model: Any, **fields: Any) -> job_pb2.Job:
    """The job of a live model; the optimizer is live too."""
    groups = [{"name": "all", "match": ["**"], "optimizer": keras.optimizers.Adam(0.002)}]
    given = {"data": DATA, "loss": keras.losses.MeanSquaredError(), "variable_groups": groups}
    return draft_from_parts(None, model, given | fields).whole()


def built_again(job: job_pb2.Job) -> keras.Model:
    """What a trainer builds of the job, once the server has let it through."""
    assert faults_of(job, catalogue=Catalogue.load()) == []
    sent = job_pb2.Job.FromString(job.SerializeToString())
    return models.build_model(with_defaults(sent.spec, seed=1), feature_shape=lambda: (8, 8))


def assert_same(model: keras.Model, again: keras.Model) -> None:
    """Whether both compute the same, given the same weights in order."""
    again.set_weights([np.asarray(weight) for weight in model.weights])
    examples = np.random.default_rng(0).normal(size=(5, 8, 8)).astype("float32")
    np.testing.assert_allclose(again(examples), model(examples), rtol=1e-6, atol=1e-6)


def graph(acme: Any) -> keras.Model:
    """Shared layers, two nested models, layers in a Python list, own classes nested in each other."""
    inputs = keras.Input((8, 8), name="pixels")
    values = layers.Flatten()(inputs)
    shared = layers.Dense(64, activation=acme.gelu_ish, kernel_constraint=acme.Orthant(-0.5), name="shared")
    branch = keras.Sequential([keras.Input((64,)), layers.Dense(4), acme.Scale(0.5)], name="branch")
    inner_input = keras.Input((64,))
    inner = keras.Model(inner_input, acme.Scale(3.0)(layers.Dense(4)(inner_input)), name="inner")
    held = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu")])
    stack = acme.Stack([layers.Dense(4), acme.Stack([acme.Scale(2.0), layers.LayerNormalization()]), held])
    values = shared(shared(values))
    values = layers.Add()([branch(values), inner(values), inner(shared(values))])
    return keras.Model(inputs, layers.Dense(2)(stack(values)), name="graph")


def test_a_graph_with_shared_and_nested_layers_is_built_again(acme: Any) -> None:
    model = graph(acme)
    model.compile("adam", "mse")
    job = job_of(model)
    again = built_again(job)
    assert (again.name, again.count_params()) == ("graph", model.count_params())
    assert_same(model, again)
    assert installed.versions_for(job.spec) == {"acme-layers": "1.4"}


def test_a_sequential_model_and_one_of_a_registered_class_are_built_again(acme: Any) -> None:
    sequential = keras.Sequential([keras.Input((8, 8)), layers.Flatten(), acme.Scale(), layers.Dense(2)], name="row")
    assert_same(sequential, built_again(job_of(sequential)))
    tower = acme.Tower(units=2, width=5, name="tower")
    again = built_again(job_of(tower))
    tower(np.zeros((1, 8, 8)))
    assert again.inner.get_config() == tower.get_config()
    assert_same(tower, again)


def test_losses_metrics_optimizers_and_schedules_are_sent_as_they_are(acme: Any) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=np.int64(10), decay_rate=0.5)
    job = job_of(
        graph(acme),
        display_name="live",
        labels={"team": "acme"},
        loss=acme.CappedError(cap=2.5),
        metrics=[acme.LargestError(name="worst"), keras.metrics.MeanAbsoluteError()],
        variable_groups=[
            {"name": "first", "match": ["shared/**"], "optimizer": keras.optimizers.SGD(schedule, momentum=0.5)},
            {"name": "rest", "match": ["**"], "optimizer": {"type": "Adam"}, "learning_rate": schedule},
        ],
        training={"epochs": np.int32(3), "seed": 1},
    )
    assert faults_of(job, catalogue=Catalogue.load()) == []
    assert (job.display_name, dict(job.labels), job.spec.training.epochs) == ("live", {"team": "acme"}, 3)
    loss = build_component("loss", job.spec.loss, "spec.loss")
    assert (type(loss).__name__, loss.cap) == ("CappedError", 2.5)
    names = [build_component("metric", metric, "it").name for metric in with_defaults(job.spec, seed=1).metrics]
    assert names == ["worst", "mean_absolute_error"]
    optimizer = models.build_optimizer(job.spec.variable_groups[0], "it")
    optimizer.build([keras.Variable(0.0)])
    optimizer.iterations.assign(10)
    assert (float(optimizer.learning_rate), optimizer.momentum) == (pytest.approx(0.05), 0.5)


def refused(model: Any, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        job_of(model, **fields)
    return {fault.field: fault.description for fault in caught.value.faults}


def test_what_cannot_be_sent_is_refused_with_what_to_do(acme: Any) -> None:
    class Plain(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    def cube(inputs: Any) -> Any:
        return inputs**3

    unbuilt = keras.Sequential([layers.Dense(2)])
    assert "begin it with keras.Input(shape)" in refused(unbuilt)["model"]
    unbuilt(np.zeros((3, 4)))
    assert "batches of 3 only" in refused(unbuilt)["model"]
    inputs = keras.Input((8,))
    own = keras.Model(inputs, layers.Dense(1, activation=cube)(Plain()(inputs)))
    assert "not registered, Plain, cube: use @keras.saving.register_keras_serializable" in refused(own)["model"]
    sound = graph(acme)
    assert "not registered, Plain" in refused(sound, loss=Plain())["spec.loss"]
    assert "not registered, cube" in refused(sound, loss=cube)["spec.loss"]
    assert "got a object" in refused(sound, training={"epochs": object()})["spec.training.epochs"]
    assert "must be a Keras 3 model or a mapping" in refused(3)["model"]
    two = keras.Model([inputs, other := keras.Input((8,))], layers.Add()([inputs, other]))
    assert "must have one input, as a data source has one array of features; has 2" in refused(two)["model"]


def test_an_operation_outside_a_layer_is_refused_with_what_to_do() -> None:
    inputs = keras.Input((8, 8))
    (fault,) = faults_of(job_of(keras.Model(inputs, layers.Flatten()(inputs / 16.0))))
    assert fault.field == "spec.model.keras_config.config.layers[1]"
    assert fault.description.startswith('must be a layer; "TrueDivide" is an operation on tensors: put it into one')


def test_a_class_that_the_server_does_not_know_is_refused_by_its_name_with_the_ways_to_bring_it(acme: Any) -> None:
    known = [entry for entry in Catalogue.load().entries() if not entry.is_registered]
    committed = Catalogue(tuple(known))
    told = {fault.field: fault.description for fault in faults_of(job_of(graph(acme)), catalogue=committed)}
    missing = [text for field, text in told.items() if field.startswith("spec.model.keras_config")]
    assert any('"acme>Scale" is registered nowhere here: install its package at the server' in text for text in missing)
    job = with_user_code(Draft(job_of(graph(acme))), "import acme_layers\n").job
    assert faults_of(job, catalogue=committed, allows_user_code=True) == []


def test_a_job_is_given_as_a_whole_or_by_its_parts() -> None:
    with pytest.raises(InvalidRequestError, match="or its parts"):
        draft_from_parts(None, None, {})
    with pytest.raises(InvalidRequestError, match="must be left out where model is given"):
        draft_from_parts({}, {"layers": []}, {})
    with pytest.raises(TypeError, match="loss can only be given with model"):
        draft_from_parts({}, None, {"loss": {}})
    with pytest.raises(InvalidRequestError, match="lost"):
        draft_from_parts(None, {"layers": []}, {"lost": {}}).whole()
    assert draft_from_parts(None, {"name": "m"}, {"data": DATA}).job.spec.model.name == "m"


def test_arguments_that_get_config_forgets_are_sent_all_the_same() -> None:
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(1)], name="live")
    metric = keras.metrics.SparseTopKCategoricalAccuracy(k=3, from_sorted_ids=True)
    job = job_of(model, loss=keras.losses.Huber(delta=2.5), metrics=[metric])
    assert models.build_targets(with_defaults(job.spec, seed=1))[0].loss._fn_kwargs == {"delta": 2.5}
    assert dict(job.spec.metrics[0].config)["from_sorted_ids"]
