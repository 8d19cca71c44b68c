"""Examples that do not fit the model, the loss or a metric are refused before anything is traced, naming both sides."""

import keras
import numpy as np
import pytest

from gradloom.errors import InvalidRequestError
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.fitness import check_fit, check_model
from gradloom.trainer.targets import Target

FIELD = "spec.data.train"
SPARSE = keras.losses.SparseCategoricalCrossentropy()


def model(shape=(4,), units=3, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), keras.layers.Dense(units)], name="model")


def told(arrays, loss=SPARSE, metrics=(), network=None):
    """The faults by field; empty when the examples fit."""
    try:
        check_fit(Arrays(*arrays), FIELD, network or model(), [Target("", loss, metrics=tuple(metrics))])
    except DataUnavailable as error:
        return {fault.field: fault.description for fault in error.faults}
    return {}


def features(*shape, dtype=np.float32):
    return np.zeros((5, *shape), dtype)


def labels(*shape, high=3, dtype=np.int64):
    return (np.arange(5 * int(np.prod(shape))) % high).reshape(5, *shape).astype(dtype)


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        ((features(4), labels()), SPARSE),
        ((features(4, dtype=np.uint8), labels(1, dtype=np.uint8)), SPARSE),
        ((features(4), labels(dtype=np.float32)), SPARSE),
        ((features(4), labels(3)), keras.losses.CategoricalCrossentropy()),
        ((features(4), labels(3)), keras.losses.MeanSquaredError()),
    ],
)
def test_examples_that_fit_pass(given, loss):
    assert told(given, loss, [keras.metrics.MeanSquaredError()] if given[1].ndim == 2 else []) == {}


def test_a_metric_is_tried_as_it_is_though_its_config_forgets_a_setting():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), keras.layers.Reshape((2, 3))], name="model")
    given = (features(4), np.zeros((5, 2, 3), np.float32))
    assert told(given, keras.losses.MeanSquaredError(), [keras.metrics.CosineSimilarity(axis=1)], network) == {}
    refused = told(given, keras.losses.MeanSquaredError(), [keras.metrics.CosineSimilarity(axis=3)], network)
    assert "CosineSimilarity refuses the data" in refused["spec.metrics[0]"]


def test_a_shape_that_the_input_does_not_take_is_told_with_both_shapes():
    assert "[5], but the model's input takes [4]" in told((features(5), labels()))[FIELD]
    assert "[4, 1]" in told((features(4, 1), labels()))[FIELD]


def test_fractions_for_an_integer_input_are_refused():
    words = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(9, 2), keras.layers.Flatten()])
    assert "float32, but the model's input takes int32" in told((features(4), labels()), network=words)[FIELD]


@pytest.mark.parametrize(
    ("given", "loss", "words"),
    [
        (labels(2), SPARSE, "labels have shape [2], the model's output [3]"),
        (labels(high=5), SPARSE, "labels go from 0 to 4, but the model's output has 3 classes"),
        (labels() - 1, SPARSE, "labels go from -1 to 1"),
        (labels().astype(np.float32) + 0.5, SPARSE, "not all whole numbers"),
        (labels(), keras.losses.CategoricalCrossentropy(), "element by element"),
        (labels(), keras.losses.MeanSquaredError(), "labels have shape [], the model's output [3]"),
        (labels(4), keras.losses.CategoricalCrossentropy(), "labels have shape [4], the model's output [3]"),
    ],
)
def test_labels_that_the_loss_would_refuse_or_misread_are_told(given, loss, words):
    assert words in told((features(4), given), loss)[FIELD]


def test_an_ignored_class_may_lie_outside_the_classes():
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=255)
    given = np.array([0, 1, 255, 2, 1], np.uint8)
    assert told((features(4), given), loss) == {}


def test_a_metric_that_refuses_the_data_or_gives_several_numbers_is_told_by_its_position():
    given = (features(4), labels(3, high=2, dtype=np.float32))
    metrics = [keras.metrics.MeanSquaredError(), keras.metrics.F1Score(), keras.metrics.MeanIoU(num_classes=1)]
    found = told(given, keras.losses.MeanSquaredError(), metrics[:2])
    assert found.keys() == {"spec.metrics[1]"}
    assert "several numbers" in found["spec.metrics[1]"]
    wrong = [keras.metrics.SparseCategoricalAccuracy(), keras.metrics.R2Score(num_regressors=7)]
    found = told((features(4), labels()), SPARSE, wrong)
    assert found.keys() == {"spec.metrics[1]"}
    assert "R2Score refuses the data" in found["spec.metrics[1]"]


def test_metrics_are_left_as_they_were():
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    assert told((features(4), labels()), metrics=[accuracy]) == {}
    assert float(accuracy.count) == 0


def test_names_of_scalars_must_differ_and_a_model_has_one_input():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    outputs = keras.layers.Dense(3)(keras.layers.add(inputs))
    metrics = (keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="a"), keras.metrics.Mean(name="a"))
    with pytest.raises(InvalidRequestError) as raised:
        check_model(keras.Model(inputs, outputs), [Target("", SPARSE, metrics=metrics)])
    assert [fault.field for fault in raised.value.faults] == [
        "spec.model",
        "spec.metrics[0].name",
        "spec.metrics[2].name",
    ]


def test_an_output_that_goes_by_a_name_is_refused():
    taken = keras.Input((4,))
    with pytest.raises(InvalidRequestError, match="by itself"):
        check_model(keras.Model(taken, {"scores": keras.layers.Dense(3)(taken)}), [Target("", SPARSE)])


def test_a_model_that_cannot_infer_is_refused():
    """Keras's RandomCrop keeps the size of what it is given when it does not crop."""
    layers = [keras.Input((8, 8, 1)), keras.layers.RandomCrop(6, 6), keras.layers.Flatten(), keras.layers.Dense(3)]
    with pytest.raises(InvalidRequestError, match=r"training=False.*incompatible") as raised:
        check_model(keras.Sequential(layers, name="model"), [Target("", SPARSE)])
    assert "\x1b" not in str(raised.value), "Keras's terminal colours are taken out"


def test_weights_of_two_types_are_refused_with_one_of_each() -> None:
    inputs = keras.Input([2])
    hidden = keras.layers.Dense(2, name="hidden", dtype="float64")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="last")(hidden))
    with pytest.raises(InvalidRequestError, match=r"hidden/kernel is float64, last/kernel is float32"):
        check_model(model, [Target("", SPARSE)])


def test_of_several_outputs_the_one_whose_labels_do_not_fit_is_named() -> None:
    inputs = keras.Input([4])
    network = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(1)(inputs)])
    by_output = {"kind": labels(high=9), "size": labels()}
    targets = [Target("kind", SPARSE), Target("size", keras.losses.MeanSquaredError())]
    with pytest.raises(DataUnavailable, match=r'labels go from 0 to 4, but the model\'s output "kind" has 3 classes'):
        check_fit(Arrays(features(4), by_output), FIELD, network, targets)
