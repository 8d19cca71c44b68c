"""What layers keep beside their weights: each row counts once, whatever the number of replicas."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from gradloom.components import ReconstructingRegressor
from gradloom.errors import InvalidRequestError
from gradloom.trainer.own_state import OwnMetrics
from tests.own_state_trials import EPOCHS

TRIALS = Path(__file__).with_name("own_state_trials.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `own_state_trials.py` found, in a process of its own: devices are set before the first operation."""
    out = tmp_path_factory.mktemp("own_state") / "found.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, TRIALS, out], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        return {key: archive[key] for key in archive.files}


def test_state_weights_and_scalars_are_those_of_one_replica(found):
    alone = {key.removeprefix("1/"): value for key, value in found.items() if key.startswith("1/")}
    assert alone.keys() > {"loss", "reconstruction_error", "val_reconstruction_error", "features.total", "sums.total"}
    for replicas in (2, 3):
        for key, value in alone.items():
            np.testing.assert_allclose(found[f"{replicas}/{key}"], value, rtol=1e-9, atol=1e-12, err_msg=key)


def test_sums_hold_every_row_of_every_epoch_once(found):
    train = found["train"]
    np.testing.assert_allclose(found["3/sums.total"], EPOCHS * train.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["3/features.squares"], EPOCHS * np.square(train).sum(axis=0), rtol=1e-12)
    assert found["3/features.count"] == EPOCHS * len(train)


def test_a_metric_of_one_number_a_batch_weighs_it_with_its_rows(found):
    for replicas in (1, 2, 3):
        assert found[f"{replicas}/mean_input"] == pytest.approx(found["train"].mean(), rel=1e-9)
        assert found[f"{replicas}/val_mean_input"] == pytest.approx(found["validation"].mean(), rel=1e-9)


def test_a_model_that_is_only_called_leaves_its_metrics_alone(found):
    # The validation's rows, and nothing of the call after it.
    assert list(found["3/metrics after the training"]) == [len(found["validation"])] * 2


def test_two_scalars_of_one_name_are_refused():
    model = keras.Sequential([keras.Input((3,)), ReconstructingRegressor(name="inner")])
    with pytest.raises(InvalidRequestError, match='"reconstruction_error", which is taken'):
        OwnMetrics(model, ["loss", "reconstruction_error"])
