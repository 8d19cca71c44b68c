"""A training that is killed and goes on elsewhere ends with the bits of one that is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

TRIALS = Path(__file__).with_name("resume_trials.py")


def test_a_training_that_is_killed_again_and_again_ends_with_the_bits_of_one_left_alone(tmp_path):
    # One replica is what `test_interrupted_training` kills.
    out = tmp_path / "found.npz"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, TRIALS, out, "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        runs = {key.split("/")[0]: {} for key in found.files}
        for key in found.files:
            run, what = key.split("/", 1)
            runs[run][what] = found[key]
    assert runs["killed"].keys() == runs["alone"].keys()
    assert {what for what, value in runs["alone"].items() if value.tobytes() != runs["killed"][what].tobytes()} == set()
    kinds = {what.split("/")[1].split("@")[0] for what in runs["alone"] if what.startswith("state/")}
    assert kinds == {"model", "group", "tally", "global_step"}
    assert "scalar/3/val_top" in runs["alone"]
    recorded = {int(what.split("/")[1]) for what in runs["alone"] if what.startswith("point/")}
    assert recorded == {4, 8, 12, 16, 20, 24}
    # What is not synchronized differs between replicas, and is kept for each.
    own = {what for what in runs["alone"] if what.endswith("@1")}
    assert own
