"""Weights of examples and of classes: read and checked, and counted as Keras counts them, on any number of replicas."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.errors import InvalidRequestError
from gradloom.trainer import datasets
from gradloom.trainer.batches import permutation
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.fitness import check_class_weights, check_fit
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2
from tests import weight_trials as trials

FIELD = "spec.data.train"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `weight_trials.py` found, in a process of its own: devices are set before the first operation."""
    out = tmp_path_factory.mktemp("weights") / "found.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, trials.__file__, out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        return {key: archive[key] for key in archive.files}


def results(found, trial, setting):
    prefix = f"{trial}/{setting}/"
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


@pytest.mark.parametrize("trial", trials.TRIALS)
def test_replicas_and_micro_batches_change_nothing(found, trial):
    alone = results(found, trial, "1")
    assert {"epoch 2 loss", "variable 0"} < alone.keys()
    for setting in trials.SETTINGS:
        other = results(found, trial, setting)
        assert other.keys() == alone.keys()
        for key, value in alone.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-9, atol=1e-12, err_msg=f"{setting} {key}")


@pytest.mark.parametrize("trial", trials.TRIALS)
def test_weights_and_scalars_are_those_of_keras(found, trial):
    """Keras's own training on the same batches, from the same weights; it keeps losses in float32."""
    ours, made = results(found, trial, "1"), trials.TRIALS[trial]
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        theirs, validation = in_keras(made, [ours[key] for key in ours if key.startswith("before")])
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
    for index, value in enumerate(theirs):
        np.testing.assert_allclose(ours[f"variable {index}"], value, rtol=1e-5, atol=1e-7)
    for name, value in validation.items():
        assert ours[f"epoch {trials.EPOCHS} val_{name}"] == pytest.approx(value, rel=1e-5)
    assert np.abs(ours["variable 0"] - ours["before 0"]).max() > 0.01


def in_keras(made, weights):
    """The weights after training with `train_on_batch`, and the scalars of `evaluate` on the validation data."""
    model = made.get("model", trials.linear)()
    model.set_weights(weights)
    targets = made.get("targets", lambda: trials.one(trials.sparse()))()
    model.compile(
        keras.optimizers.SGD(0.1),
        loss=[target.loss for target in targets],
        loss_weights=[target.weight for target in targets] if len(targets) > 1 else None,
        metrics=[list(target.metrics) for target in targets],
        # In a graph Keras does not know a batch's rows, and the means of the outputs' losses ignore them.
        run_eagerly=True,
    )
    data = made["data"]
    names = [target.name for target in targets]
    classes = made.get("class_weights", {})
    labels = [data.labels_of(name) for name in names]
    of_class = np.array([classes.get(kind, 1.0) for kind in trials.KINDS])
    # With an axis more: Keras cannot tell on its own that weights [n] belong to the rows of a mask [n, t].
    of_example = (of_class if data.weights is None else of_class * data.weights)[:, np.newaxis]
    for epoch in range(1, trials.EPOCHS + 1):
        order = permutation(len(data), trials.SEED, tf.constant(epoch)).numpy()
        for begin in range(0, len(data), trials.BATCH):
            rows = order[begin : begin + trials.BATCH]
            own = [one[rows] for one in labels]
            given = [of_example[rows]] * len(own)
            model.train_on_batch(data.features[rows], *((own, given) if len(own) > 1 else (own[0], given[0])))
    scalars = {}
    if "validation" in made:
        other = made["validation"]
        own = [other.labels_of(name) for name in names]
        scalars = model.evaluate(
            other.features,
            own if len(own) > 1 else own[0],
            sample_weight=other.weights,
            batch_size=trials.BATCH,
            verbose=0,
            return_dict=True,
        )
    return model.get_weights(), scalars


def test_a_weight_of_0_leaves_an_example_out_of_the_loss_but_not_out_of_the_metrics(found):
    """By hand, for the loss at the beginning: the first epoch's mean with weights that follow from the rows alone."""
    ours = results(found, "sample weights", "1")
    kernel, bias = ours["variable 0"], ours["variable 1"]
    scores = trials.OTHERS @ kernel + bias
    each = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(11), trials.OTHER_KINDS]
    assert ours["epoch 2 val_loss"] == pytest.approx((each * trials.OTHER_WEIGHTS).mean(), rel=1e-9)
    assert ours["epoch 2 val_accuracy"] == pytest.approx((scores.argmax(axis=1) == trials.OTHER_KINDS).mean())


def archive(tmp_path, weights):
    path = tmp_path / "weighted.npz"
    np.savez(path, features=np.zeros((3, 2)), label=np.arange(3), w=weights)
    source = spec_pb2.DataSource(npz=spec_pb2.NpzData(path=str(path), sample_weight="w"))
    return datasets.load(source, FIELD, [str(tmp_path)], [])


def test_sample_weights_of_a_file_are_read_and_part_of_the_digest(tmp_path):
    arrays = archive(tmp_path, [0.0, 2.5, 1.0])
    np.testing.assert_array_equal(arrays.weights, [0.0, 2.5, 1.0])
    assert arrays.sha256 != Arrays(arrays.features, arrays.labels).sha256
    assert arrays.part(1, 3).weights.tolist() == [2.5, 1.0]


@pytest.mark.parametrize(
    ("weights", "field", "words"),
    [
        ([1.0, -0.5, -1.0], f"{FIELD}.npz.sample_weight", "at least 0; 2 are not, the first at position 1: -0.5"),
        ([[1.0], [1.0], [1.0]], f"{FIELD}.npz.sample_weight", "has shape [3, 1]; it must be [n]"),
        ([1.0, 1.0], f"{FIELD}.npz", 'features and weights must be of equal length; "features" has 3 examples, "w" 2'),
        ([1.0, np.nan, 1.0], FIELD, "sample weights must be finite; those of 1 examples are not"),
        (["a", "b", "c"], f"{FIELD}.npz.sample_weight", "numbers of at most 64 bits"),
    ],
)
def test_sample_weights_that_cannot_be_are_refused(tmp_path, weights, field, words):
    with pytest.raises(DataUnavailable) as raised:
        archive(tmp_path, weights)
    (fault,) = raised.value.faults
    assert fault.field == field
    assert words in fault.description


def network(units=3):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)], name="model")


def class_faults(weights, labels, loss, units=3):
    try:
        check_class_weights(weights, Arrays(np.zeros((6, 4)), labels), FIELD, network(units), [Target("", loss)])
    except InvalidRequestError as error:
        return {fault.field: fault.description for fault in error.faults}
    return {}


@pytest.mark.parametrize(
    ("labels", "loss", "units"),
    [
        (np.arange(6) % 3, trials.sparse(), 3),
        (np.arange(6.0)[:, None] % 3, trials.sparse(), 3),
        (np.eye(3)[np.arange(6) % 3], keras.losses.CategoricalCrossentropy(), 3),
        (np.arange(6)[:, None] % 2, keras.losses.BinaryCrossentropy(), 1),
    ],
)
def test_weights_of_classes_that_there_are_pass(labels, loss, units):
    assert class_faults({0: 2.0, 1: 0.5}, labels, loss, units) == {}


def test_weights_of_classes_that_there_are_not_are_refused():
    field = "spec.training.class_weights"
    told = {f"{field}[3]": "must be the weight of a class, 0 to 2; got 3"}
    assert class_faults({0: 2.0, 3: 0.5}, np.arange(6) % 3, trials.sparse()) == told
    hot = keras.losses.CategoricalCrossentropy()
    assert class_faults({0: 2.0, 3: 0.5}, np.eye(3)[np.arange(6) % 3], hot) == told
    for labels, loss in ((np.full((6, 3), 0.5), hot), (np.full((6, 1), 0.5), keras.losses.MeanSquaredError())):
        assert "class numbers or one-hot" in class_faults({0: 2.0}, labels, loss)[field]


class LargestError(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.max(keras.ops.abs(y_true - y_pred))


def test_a_loss_that_gives_one_number_for_a_batch_takes_no_weights():
    arrays = Arrays(np.zeros((6, 4)), np.zeros((6, 3)), np.ones(6))
    with pytest.raises(DataUnavailable, match=r"spec\.loss: must have no sample weights") as raised:
        check_fit(arrays, FIELD, network(), [Target("", LargestError())])
    assert FIELD in str(raised.value)
    labels = np.eye(3)[np.arange(6) % 3]
    assert "a loss of each example" in class_faults({0: 2.0}, labels, LargestError())["spec.training.class_weights"]
