"""Random layers draw on several replicas, and in micro-batches, what they would draw on one for a whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import random as backend_random

from gradloom.trainer.batches import Examples, Share
from gradloom.trainer.draws import FUNCTIONS, Draws

TRIALS = Path(__file__).with_name("draw_trials.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `draw_trials.py` found, in a process of its own: logical devices are set before the first operation."""
    out = tmp_path_factory.mktemp("draws") / "found.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, TRIALS, out], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.mark.parametrize("trial", ["dense", "images", "series"])
def test_weights_and_losses_with_random_layers_are_those_of_one_replica(found, trial):
    alone = {key.split("/")[2]: value for key, value in found.items() if key.startswith(f"{trial}/1/")}
    others = {key: value for key, value in found.items() if key.startswith(f"{trial}/") and "/1/" not in key}
    assert others
    for key, value in others.items():
        what = key.split("/")[2]
        if what == "copies differ":
            assert not value
        elif what == "dependent":
            assert not value.size
        else:
            np.testing.assert_allclose(value, alone[what], rtol=1e-9, atol=1e-12, err_msg=key)


def test_a_layer_whose_draw_does_not_follow_the_rows_is_named_and_only_where_a_batch_is_split(found):
    assert not found["flat/1/dependent"].size
    for setup in ("2", "1x2"):
        assert [str(layer) for layer in found[f"flat/{setup}/dependent"]] == ["model/flat_noise"]


def share(begin, rows, total):
    return Share(Examples(tf.ones((rows, 4)), tf.zeros(rows)), rows, begin, total)


def settled(*layers):
    """The draws of a model, watched on two batches, and the model with its generators as they were before."""
    model = keras.Sequential([keras.Input((4,)), *layers], name="model")
    draws = Draws(model)
    state = [variable.numpy() for variable in model.variables]
    for rows in (9, 4):
        with draws.watched(rows, training=True):
            model(tf.ones((rows, 4)), training=True)
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)
    return model, draws, state


def outputs(model, draws, state, one):
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)
    with draws.of_share(one, training=True):
        return model(one.examples.features, training=True).numpy()


@pytest.mark.parametrize("layer", [keras.layers.Dropout(0.4), keras.layers.GaussianNoise(1.0)])
def test_the_shares_of_a_batch_draw_together_what_keras_draws_for_the_whole(layer):
    model, draws, state = settled(layer)
    whole = model(tf.ones((10, 4)), training=True).numpy()
    parts = [outputs(model, draws, state, share(begin, rows, 10)) for begin, rows in ((0, 4), (4, 3), (7, 3))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_draw_that_shuffles_the_rows_is_another_one_in_every_share_and_named():
    class Shuffled(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="shuffled")
            self.seed_generator = keras.random.SeedGenerator(1)

        def call(self, inputs):
            ranks = keras.ops.cast(keras.ops.arange(inputs.shape[0]), "float32")
            return inputs * keras.ops.expand_dims(keras.random.shuffle(ranks, seed=self.seed_generator), 1)

    layer = Shuffled()
    layer.compute_output_spec = lambda inputs: keras.KerasTensor(inputs.shape, inputs.dtype)
    model, draws, state = settled(layer)
    assert draws.dependent_layers == ["model/shuffled"]
    first, second = (outputs(model, draws, state, share(begin, 5, 10)) for begin in (0, 5))
    assert not np.array_equal(first, second)


def test_a_draw_without_a_generator_is_refused_with_what_to_do():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])
    draws = Draws(model)
    with draws.watched(3, training=True), pytest.raises(ValueError, match="seed_generator"):
        keras.random.normal((3, 4))


def test_keras_draws_through_the_functions_that_are_replaced():
    # Guards the names of Keras's backend that the module relies on.
    for name in FUNCTIONS:
        assert hasattr(getattr(backend_random, name), "__wrapped__"), name
    public = {"normal", "uniform", "randint", "truncated_normal", "gamma", "binomial", "beta", "dropout", "shuffle"}
    assert public <= {name for name in dir(keras.random) if not name.startswith("_")}
