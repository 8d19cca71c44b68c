"""A loss that takes scores for probabilities, or the other way round, is told."""

import keras
import pytest

from gradloom.trainer.logits import contradictions
from gradloom.trainer.targets import Target

CATEGORICAL = keras.losses.SparseCategoricalCrossentropy
BINARY = keras.losses.BinaryCrossentropy


def told(last, loss):
    layers = [keras.Input((4,)), *(last if isinstance(last, list) else [last])]
    return contradictions(keras.Sequential(layers, name="model"), [Target("", loss)])


def dense(activation=None):
    return keras.layers.Dense(3, activation=activation, name="last")


def nested(activation):
    return keras.Sequential([keras.Input((4,)), dense(activation)], name="inner")


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (dense("softmax"), CATEGORICAL(from_logits=True)),
        (dense("sigmoid"), BINARY(from_logits=True)),
        ([dense(), keras.layers.Softmax(name="last_one")], CATEGORICAL(from_logits=True)),
        ([dense(), keras.layers.Activation("softmax", name="last_one")], CATEGORICAL(from_logits=True)),
        (nested("softmax"), CATEGORICAL(from_logits=True)),
    ],
)
def test_probabilities_that_are_taken_for_scores_are_told(last, loss):
    (notice,) = told(last, loss)
    assert notice.startswith(f'spec.loss: {type(loss).__name__} has from_logits true, but "last')
    assert "gives probabilities" in notice


@pytest.mark.parametrize("last", [dense(), nested(None), keras.layers.Dense(3, activation="linear", name="last")])
def test_scores_that_are_taken_for_probabilities_are_told(last):
    (notice,) = told(last, CATEGORICAL())
    assert notice == (
        "spec.loss: SparseCategoricalCrossentropy has from_logits false, "
        'but "last" gives scores of any size (no activation)'
    )


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (dense(), CATEGORICAL(from_logits=True)),
        (dense("softmax"), CATEGORICAL()),
        (dense("relu"), CATEGORICAL()),
        (dense(), keras.losses.MeanSquaredError()),
        ([dense(), keras.layers.LayerNormalization()], CATEGORICAL()),
    ],
)
def test_what_agrees_or_cannot_be_seen_is_not_told(last, loss):
    assert told(last, loss) == []


def test_each_of_several_outputs_is_told_by_its_field():
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(3, "softmax", name="kind")(inputs), keras.layers.Dense(1, name="sick")(inputs)]
    targets = [Target("kind", CATEGORICAL(from_logits=True)), Target("sick", BINARY())]
    found = contradictions(keras.Model(inputs, outputs), targets)
    assert [notice.partition(":")[0] for notice in found] == ["spec.outputs.kind.loss", "spec.outputs.sick.loss"]
