"""The validator's process: what it is asked and what it answers, with nothing else on its stdout."""

import base64
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from gradloom import documents
from gradloom.attempt.v1 import attempt_pb2
from gradloom.v1 import spec_pb2
from tests.test_initial_weights import saved
from tests.test_trainer_process import SPEC


@pytest.fixture
def spec():
    return documents.read_job(SPEC).spec


def ask(spec, **more):
    """The validator's answer, and the seconds it took."""
    question = {"spec": base64.b64encode(spec.SerializeToString()).decode(), **more}
    started = time.monotonic()
    command = [sys.executable, "-m", "gradloom.trainer", "validate"]
    done = subprocess.run(command, input=json.dumps(question).encode(), stdout=subprocess.PIPE)
    assert done.returncode == 0
    return json.loads(done.stdout), time.monotonic() - started


def faults(answer):
    return {fault["field"]: fault["description"] for fault in answer["faults"]}


def test_a_good_spec_is_resolved_as_far_as_can_be_told_without_devices(spec):
    answer, seconds = ask(spec, device_kind="GPU", replicas=2)
    resolved = spec_pb2.ResolvedSpec.FromString(base64.b64decode(answer["resolved_spec"]))
    assert (resolved.device_kind, resolved.replicas) == (spec_pb2.ResolvedSpec.GPU, 2)
    assert resolved.spec.resources.gpus == 2
    assert {variable.group for variable in resolved.variables} == {"body", "head"}
    assert resolved.data[0].examples == 300
    assert seconds < 60


def test_a_model_that_no_memory_holds_is_told_as_such(spec):
    spec.model.layers[2].config["units"] = 2**31 - 1
    answer, _ = ask(spec)
    assert answer == {"out_of_memory": True}


def test_faults_of_model_components_and_data_are_told_at_once(spec, tmp_path):
    spec.model.layers[2].config["units"] = -3
    spec.loss.config["reduction"] = "everything"
    spec.variable_groups[1].optimizer.config["momentum"] = 7.5
    spec.data.test.npz.path = str(tmp_path / "nowhere.npz")
    spec.data.test.ClearField("builtin")
    answer, _ = ask(spec, data_roots=[str(tmp_path)])
    told = faults(answer)
    assert any(field.startswith("spec.model.layers[2]") for field in told)
    assert any(field.startswith("spec.loss") for field in told)
    assert any(field.startswith("spec.variable_groups[1].optimizer") for field in told)
    assert "spec.data.test.npz.path" in told


def test_shapes_that_do_not_fit_are_faults(spec, tmp_path):
    np.savez(tmp_path / "wide.npz", features=np.zeros((40, 9, 9), np.float32), label=np.full(40, 11))
    spec.data.train.CopyFrom(spec_pb2.DataSource(npz=spec_pb2.NpzData(path=str(tmp_path / "wide.npz"))))
    answer, _ = ask(spec, data_roots=[str(tmp_path)])
    assert "[9, 9]" in faults(answer)["spec.data.train"]


def test_layers_that_do_not_fit_each_other_are_faults(spec):
    spec.model.layers.insert(2, spec_pb2.LayerSpec(type="Conv2D", name="conv"))
    spec.model.layers[2].config.update({"filters": 2, "kernel_size": 3})
    answer, _ = ask(spec)
    assert any(field.startswith("spec.model.layers[2]") for field in faults(answer))


def test_more_steps_than_can_be_counted_are_a_fault_of_the_epochs(spec):
    spec.training.epochs = 2**31 - 1
    spec.training.global_batch_size = 100
    answer, _ = ask(spec)
    told = faults(answer)["spec.training.epochs"]
    assert told.startswith("must make at most 2^31 - 1 steps in all; 2147483647 epochs of 3 steps")


def test_a_variable_without_a_group_is_a_fault_that_lists_both_sides(spec):
    del spec.variable_groups[1]
    answer, _ = ask(spec)
    description = faults(answer)["spec.variable_groups"]
    assert "classifier/kernel" in description
    assert "body" in description


def test_initial_weights_that_match_nothing_are_told_with_the_other_faults(spec, tmp_path):
    checkpoint = saved(tmp_path, {"model/0/classifier/bias": np.ones(10, np.float32)})
    spec.model.initial_weights.job = "source"
    spec.model.initial_weights.match.extend(["classifier/*", "hidden/*"])
    spec.loss.config["reduction"] = "everything"
    answer, _ = ask(spec, initial_weights=base64.b64encode(checkpoint.SerializeToString()).decode())
    told = faults(answer)
    assert "hidden/kernel, which is not there" in told.pop("spec.model.initial_weights.match[1]")
    assert all(field.startswith("spec.loss") for field in told)


def test_what_has_changed_since_the_job_that_is_gone_on_from_is_told(spec):
    resolved = spec_pb2.ResolvedSpec(replicas=2, data=[spec_pb2.ResolvedData(source="train")])
    retry = attempt_pb2.Retry(
        checkpoint=attempt_pb2.Checkpoint(job="projects/default/jobs/old"), resolved_spec=resolved
    )
    answer, _ = ask(spec, retry=base64.b64encode(retry.SerializeToString()).decode())
    assert answer["error"]["exception_type"].endswith("EnvironmentChangedError")
    assert "what projects/default/jobs/old, from whose checkpoint this one goes on," in answer["error"]["message"]
    assert "replicas was 2, is 1" in answer["error"]["message"]


def test_source_that_comes_with_a_spec_never_runs_here_and_the_rest_is_checked(spec, tmp_path):
    spec.user_code.source = f"open({str(tmp_path / 'ran')!r}, 'w').close()"
    spec.model.layers[1].type = "mine>Flatten"
    answer, _ = ask(spec)
    resolved = spec_pb2.ResolvedSpec.FromString(base64.b64decode(answer["resolved_spec"]))
    assert (resolved.data[0].examples, len(resolved.variables)) == (300, 0)
    spec.model.layers[2].config["units"] = -3
    spec.variable_groups[1].optimizer.config["momentum"] = 7.5
    told = faults(ask(spec)[0])
    assert any(field.startswith("spec.model.layers[2]") for field in told)
    assert any(field.startswith("spec.variable_groups[1].optimizer") for field in told)
    assert not (tmp_path / "ran").exists()
