"""Jobs from submission to their end, through the real server, supervisor and trainer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradloom import documents
from gradloom.errors import InvalidRequestError
from gradloom.v1 import job_pb2

from .server import ROOT, digits_job, processes_mentioning, wait_until

SERVER_FLAGS = ("--cpu-slots", "2")
LOAD_WITHOUT_PROJECT = """
import sys
import numpy as np
sys.path[:] = [entry for entry in sys.path if "service" not in entry]
sys.modules["gradloom"] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
examples = np.load(sys.argv[2])
print(np.argmax(model.serve(tf.constant(examples["x"])).numpy(), axis=-1).tolist())
"""


def test_the_quickstart_example_succeeds_and_its_export_works_without_the_project(server, tmp_path):
    with server.client() as client:
        job = client.submit(ROOT / "examples" / "digits_quickstart.yaml")
        job = client.wait(job, timeout=120)
        assert job.state == job_pb2.Job.SUCCEEDED, job
        assert job.export.largest_difference <= 1e-5
        assert job.export.proof_examples == 64
        assert job.progress.scalars["val_accuracy"] > 0.85
        assert {variable.group for variable in job.resolved_spec.variables if variable.trained} == {
            group.name for group in job.spec.variable_groups
        }

        downloaded = tmp_path / "downloaded"
        client.download(job, downloaded)
        saved_model = next(path.parent for path in downloaded.rglob("saved_model.pb"))
        assert saved_model.name == "1", "a version directory, as TensorFlow Serving expects it"

        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        np.savez(tmp_path / "examples.npz", x=images[-200:].reshape(-1, 8, 8).astype("float32"))
        output = subprocess.run(
            [sys.executable, "-c", LOAD_WITHOUT_PROJECT, str(saved_model), str(tmp_path / "examples.npz")],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert output.returncode == 0, output.stderr
        assert np.mean(np.array(json.loads(output.stdout)) == labels[-200:]) > 0.8

        log = "\n".join(line.text for line in client.logs(job))
        assert "epoch" in log
        assert [attempt.exit_code for attempt in client.attempts(job)] == [0]
    assert not processes_mentioning(job.uid), "no process outlives its job"


def test_every_epoch_is_told_once_and_in_order_and_the_metrics_follow(server):
    ended = ('gradloom_jobs{state="SUCCEEDED"}', 'gradloom_jobs_finished_total{reason="COMPLETED",state="SUCCEEDED"}')
    before = [server.metric(series) for series in ended]
    with server.client() as client:
        job = client.submit(digits_job(epochs=5))
        epochs, states = [], []
        for message in client.watch(job):
            if message.HasField("event") and message.event.kind == job_pb2.Event.EPOCH_ENDED:
                epochs.append(message.event.epoch)
                assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(message.event.scalars)
            if not states or states[-1] != message.job.state:
                states.append(message.job.state)
        assert epochs == [1, 2, 3, 4, 5]
        assert states[-1] == job_pb2.Job.SUCCEEDED
        assert [server.metric(series) for series in ended] == [value + 1 for value in before]
        series = server.metrics()
        assert f'gradloom_job_scalar{{job_id="{job.name.rpartition("/")[2]}",name="val_accuracy"' in series
        assert 'grpc_server_handled_total{grpc_code="OK",grpc_method="CreateJob"' in series


def test_two_replicas_give_the_weights_of_one(server, tmp_path):
    with server.client() as client:
        jobs = [client.submit(digits_job(epochs=2, resources={"cpu_replicas": replicas})) for replicas in (1, 2)]
        models = []
        for job in jobs:
            job = client.wait(job, timeout=180)
            assert job.state == job_pb2.Job.SUCCEEDED, job
            client.download(job, tmp_path / job.uid)
            models.append(next((tmp_path / job.uid).rglob("*.keras")))
    one, two = (weights_of(model) for model in models)
    assert len(one) == 4
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5, rtol=0)


def test_a_job_begins_with_the_weights_that_another_one_exported(server, tmp_path):
    """Its optimizers change nothing, so that it exports what it began with; the other one exports averages."""
    source_document, document = digits_job(epochs=20), digits_job(epochs=1)
    source_document["spec"]["variable_groups"][0]["ema_momentum"] = 0.9
    source_document["spec"]["training"]["checkpoint"] = {"every_steps": 100}
    for group in document["spec"]["variable_groups"]:
        group["optimizer"] = {"type": "SGD", "config": {"learning_rate": 0.0}}
    with server.client() as client:
        jobs = [client.wait(client.submit(source_document, job_id="source"), timeout=180)]
        document["spec"]["model"]["initial_weights"] = {"job": "source", "match": ["nowhere/**"]}
        with pytest.raises(InvalidRequestError, match='"nowhere/\\*\\*" matches none'):
            client.submit(document, validate_only=True)
        document["spec"]["model"]["initial_weights"]["match"] = ["**"]
        jobs.append(client.wait(client.submit(document), timeout=180))
        models = []
        for job in jobs:
            assert job.state == job_pb2.Job.SUCCEEDED, job
            client.download(job, tmp_path / job.uid)
            models.append(next((tmp_path / job.uid).rglob("*.keras")))
        for exported, begun in zip(*(weights_of(model) for model in models), strict=True):
            np.testing.assert_array_equal(begun, exported)
        loaded = jobs[1].resolved_spec.initial_weights
        assert (loaded.job, loaded.global_step) == (jobs[0].name, jobs[0].progress.total_steps)
        assert list(loaded.loaded) == ["hidden/kernel", "hidden/bias", "classifier/kernel", "classifier/bias"]


def weights_of(model: Path) -> list[np.ndarray]:
    code = (
        "import sys, json, keras; "
        "print(json.dumps([w.numpy().tolist() for w in keras.saving.load_model(sys.argv[1], compile=False).weights]))"
    )
    output = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, timeout=120)
    assert output.returncode == 0, output.stderr
    return [np.array(array) for array in json.loads(output.stdout.splitlines()[-1])]


def test_what_only_tensorflow_can_tell_is_told_by_validate_only_and_ends_a_job_before_training(server):
    wrong = digits_job()
    wrong["spec"]["variable_groups"].append(
        {"name": "nowhere", "match": ["absent/**"], "optimizer": {"type": "SGD", "config": {"learning_rate": 0.1}}}
    )
    with server.client() as client:
        known = {job.uid for job in client.list()}
        with pytest.raises(InvalidRequestError) as refused:
            client.submit(wrong, validate_only=True)
        (fault,) = refused.value.faults
        assert fault.field == "spec.variable_groups[2].match"
        assert "absent/**" in fault.description
        assert "hidden/kernel" in fault.description

        job = client.wait(client.submit(wrong), timeout=60)
        assert (job.state, job.state_reason) == (job_pb2.Job.FAILED, job_pb2.Job.SPEC_REFUSED)
        assert [fault.field for fault in job.error.field_faults] == ["spec.variable_groups[2].match"]
        assert job.attempt_count == 1, "a refused spec is not retried"

        checked = client.submit(digits_job(), validate_only=True)
        assert {(v.path, v.group, tuple(v.shape)) for v in checked.resolved_spec.variables} >= {
            ("hidden/kernel", "lower", (64, 32)),
            ("classifier/bias", "head", (10,)),
        }
        assert {job.uid for job in client.list()} - known == {job.uid}, "validate_only stores nothing"


def test_a_running_job_is_cancelled_and_leaves_nothing_behind(server):
    with server.client() as client:
        job = client.submit(digits_job(epochs=100_000))
        wait_until(lambda: client.get(job.name).progress.phase == job_pb2.Progress.TRAINING, 120, "training starts")
        client.cancel(job.name)
        job = client.wait(job, timeout=30)
        assert (job.state, job.state_reason) == (job_pb2.Job.CANCELLED, job_pb2.Job.CANCELLED_BY_USER)
        assert not processes_mentioning(job.uid)
        assert client.cancel(job.name).state == job_pb2.Job.CANCELLED, "cancelling again is no error"


def test_a_file_with_faults_is_refused_whole_with_every_fault_at_once(server):
    wrong = digits_job()
    wrong["spec"]["model"]["layers"][3]["type"] = "Dens"
    wrong["spec"]["training"]["epochs"] = 0
    wrong["spec"]["variable_groups"][0]["optimizer"]["config"]["clipnorm"] = 1.0
    with server.client() as client:
        known = list(client.list())
        with pytest.raises(InvalidRequestError) as refused:
            client.submit(documents.job_from_dict(wrong))
        faults = {fault.field: fault.description for fault in refused.value.faults}
        assert "Dense" in faults["spec.model.layers[3].type"]
        assert "0" in faults["spec.training.epochs"]
        assert "clip_norm" in faults["spec.variable_groups[0].optimizer.config.clipnorm"]
        assert list(client.list()) == known
