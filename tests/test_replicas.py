"""The number of replicas changes nothing but the speed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TRIALS = Path(__file__).with_name("replica_trials.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `replica_trials.py` found, in a process of its own: logical devices are set before the first operation."""
    out = tmp_path_factory.mktemp("replicas") / "found.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, TRIALS, out], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.mark.parametrize(
    "trial",
    [
        "groups with every option",
        "replicas without rows",
        "loss summed over the batch",
        "ignored class",
        "batch normalization",
        "convolution of bytes",
        "masked sequence",
    ],
)
def test_weights_scalars_and_norms_are_those_of_one_replica(found, trial):
    alone = {key.split("/")[2]: value for key, value in found.items() if key.startswith(f"{trial}/1/")}
    assert alone
    others = {key: value for key, value in found.items() if key.startswith(f"{trial}/") and "/1/" not in key}
    assert others
    for key, value in others.items():
        np.testing.assert_allclose(value, alone[key.split("/")[2]], rtol=1e-9, atol=1e-12, err_msg=key)


def test_a_loss_that_cannot_be_split_is_refused_with_its_layer_but_only_under_several_replicas(found):
    assert str(found["refusal/1"]) == ""
    for replicas in (2, 4):
        assert "layer 'model/spread'" in str(found[f"refusal/{replicas}"])
        assert "InvalidRequestError" in str(found[f"refusal/{replicas}"])


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_step_reduces_once_for_all_groups(found, micro_batches):
    # Guards the one private name of Keras that the groups rely on: should it change, every optimizer reduces again.
    assert found[f"reductions/{micro_batches}"] == 1


def test_batch_normalization_is_synchronized_unless_the_spec_says_otherwise(found):
    assert [int(found[f"synchronized/{option}"]) for option in (None, True, False)] == [2, 2, 0]
