"""Trainers in which something hangs: the attempt ends, and tells where."""

from pathlib import Path

import pytest

from gradloom.v1 import job_pb2
from tests.attempt_service import attempt_server_of
from tests.trainer_process import TrainerProcess

SPEC = """
spec:
  model:
    name: tiny
    layers:
      - {type: Input, config: {shape: [8, 8]}}
      - {type: Flatten}
      - {type: trial>Own, name: own}
      - {type: Dense, name: classifier, config: {units: 10}}
  data:
    train: {builtin: {name: digits}, range: {to: 300}}
  loss: {type: SparseCategoricalCrossentropy, config: {from_logits: true}}
  variable_groups:
    - {name: all, match: ["**"], optimizer: {type: SGD}}
  training: {epochs: 1, seed: 7}
  export: {formats: [KERAS]}
"""
OWN = """
import hashlib
import time
import keras
import tensorflow as tf

@keras.saving.register_keras_serializable(package="trial")
class Own(keras.layers.Layer):
"""
STEPS = """
    calls = 0

    def call(self, inputs):
        outputs = tf.py_function(self.pause, [inputs], inputs.dtype)
        outputs.set_shape(inputs.shape)
        return outputs

    def pause(self, inputs):
        self.calls += 1
        if self.calls > 20:
            time.sleep(3600)
        return inputs
"""
IMPORT = """
    pass

time.sleep(3600)
"""
CONSTRUCTOR = """
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        time.sleep(3600)
"""
DATA = """
    pass

def digest(*data):
    time.sleep(3600)

hashlib.sha256 = digest
"""
"""Its own code plays a disk that does not answer: the data are digested in the thread that reads them."""
EXPORT = """
    def call(self, inputs):
        return inputs

    def save_own_variables(self, store):
        time.sleep(3600)
"""
PROOF = """
    def call(self, inputs):
        return inputs

    def load_own_variables(self, store):
        time.sleep(3600)
"""


@pytest.fixture
def server(tmp_path):
    with attempt_server_of(SPEC, tmp_path) as server:
        server.assignment.user_code_allowed = True
        yield server


def end_of(server, own: str) -> tuple[int, str]:
    """Runs the attempt with a layer of this body; returns the trainer's exit code and log."""
    server.assignment.spec.user_code.source = OWN + own
    directory = Path(server.assignment.attempt_directory)
    with TrainerProcess(directory.with_suffix(".log")) as trainer:
        trainer.wait_ready()
        trainer.use(directory, server.address)
        return trainer.wait(60), trainer.log


def hanging_line(own: str) -> int:
    return (OWN + own).splitlines().index(next(line for line in own.splitlines() if "sleep(3600)" in line)) + 1


def test_a_step_that_hangs_ends_the_attempt_with_the_stacks_in_the_log(server):
    server.assignment.spec.training.epochs = 10
    server.assignment.spec.training.step_timeout_seconds = 1
    code, log = end_of(server, STEPS)
    assert code == 1, log
    assert server.finished.reason == job_pb2.Job.STEP_HUNG
    assert "took longer than 1 s (training.step_timeout_seconds)" in server.finished.message
    assert server.finished.progress.global_step > 0
    place = f"line {hanging_line(STEPS)}, in pause"
    assert server.finished.message.endswith(f"user code is in {place}: time.sleep(3600)")
    assert f'  File "<user_code>", {place}' in server.finished.error.log_lines
    assert log.rstrip().endswith(server.finished.message), "the log ends with where it hangs"


@pytest.mark.parametrize(
    ("own", "seconds", "stage", "function"),
    [
        (IMPORT, 4, "running the job's own code", ""),
        (CONSTRUCTOR, 4, "building the model", ", in __init__"),
        (DATA, 10, "reading spec.data.train", ", in digest"),
        (EXPORT, 10, "the export", ", in save_own_variables"),
        (PROOF, 10, "the proof of the .keras file", ", in load_own_variables"),
    ],
    ids=["import", "constructor", "data", "export", "proof"],
)
def test_what_hangs_outside_of_the_steps_ends_the_attempt_with_its_stage_and_line(
    server, own, seconds, stage, function
):
    server.assignment.spec.training.stage_timeout_seconds = seconds
    code, log = end_of(server, own)
    assert code == 1, log
    assert server.finished.reason == job_pb2.Job.STAGE_HUNG
    place = f"line {hanging_line(own)}{function}"
    limit = f"took longer than {seconds} s (training.stage_timeout_seconds)"
    assert server.finished.message == f"{stage} {limit}; user code is in {place}: time.sleep(3600)"
    assert any(line.startswith(f'  File "<user_code>", line {hanging_line(own)}, in ') for line in log.splitlines())
    assert log.rstrip().endswith(server.finished.message), "the log ends with where it hangs"
