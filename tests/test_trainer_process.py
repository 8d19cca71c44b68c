"""The trainer as a process: started as a supervisor starts it, against a control plane on a unix socket."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.spec import with_defaults
from gradloom.trainer import checkpoints, standby
from gradloom.v1 import job_pb2, spec_pb2
from tests.attempt_service import TOKEN, attempt_server_of
from tests.trainer_process import TrainerProcess

SPEC = """
spec:
  model:
    name: tiny
    layers:
      - {type: Input, config: {shape: [8, 8]}}
      - {type: Flatten}
      - {type: Dense, name: hidden, config: {units: 16, activation: relu}}
      - {type: gradloom>LayerNormalization, name: norm}
      - {type: Dense, name: classifier, config: {units: 10}}
  data:
    train: {builtin: {name: digits}, range: {to: 300}}
    validation: {builtin: {name: digits}, range: {from: 300, to: 400}}
    test: {builtin: {name: digits, split: test}}
  loss: {type: SparseCategoricalCrossentropy, config: {from_logits: true}}
  metrics: [{type: SparseCategoricalAccuracy, name: accuracy}]
  variable_groups:
    - {name: body, match: ["hidden/**", "norm/**"], optimizer: {type: Adam}}
    - {name: head, match: ["classifier/**"], optimizer: {type: SGD}}
  training: {epochs: 3, seed: 7}
"""
FOREVER = 1_000_000


@pytest.fixture
def server(tmp_path):
    with attempt_server_of(SPEC, tmp_path) as server:
        yield server


@pytest.fixture
def trainer(tmp_path):
    with TrainerProcess(tmp_path / "log") as trainer:
        yield trainer


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """A server and a trainer after one attempt from the spare to its end."""
    directory = tmp_path_factory.mktemp("completed")
    with attempt_server_of(SPEC, directory) as server, TrainerProcess(directory / "log") as trainer:
        assert trainer.wait_ready() == b"ready\n"
        assert trainer.log == ""
        trainer.use(Path(server.assignment.attempt_directory), server.address)
        assert trainer.wait() == 0, trainer.log
        yield server, trainer


def run(trainer, server) -> int:
    trainer.wait_ready()
    trainer.use(Path(server.assignment.attempt_directory), server.address)
    return trainer.wait()


def files_below(directory: str) -> dict[str, bytes]:
    root = Path(directory)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def exported(server) -> dict[str, bytes]:
    files = files_below(server.assignment.attempt_directory)
    return {path: content for path, content in files.items() if not path.startswith("checkpoints/")}


def assert_whole_and_proven(server):
    finished = server.finished
    assert finished.reason == job_pb2.Job.COMPLETED, finished
    assert finished.export.model == "tiny"
    assert finished.export.path == f"{server.assignment.attempt_directory}/export/tiny/1"
    assert finished.export.proof_examples == 64
    assert finished.export.largest_difference < 1e-5
    files = exported(server)
    assert {artifact.path: artifact.sha256 for artifact in finished.artifacts} == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items()
    }
    assert {"export/tiny/1/saved_model.pb", "export/tiny.keras", "export/proof/examples.npz"} <= set(files)


def test_an_attempt_goes_from_spare_to_proven_export(completed):
    server, _ = completed
    assert_whole_and_proven(server)
    assert [event.epoch for event in server.events] == [1, 2, 3]
    assert all(set(event.scalars) == {"loss", "accuracy", "val_loss", "val_accuracy"} for event in server.events)
    last = server.finished.progress
    assert (last.epoch, last.epochs, last.global_step, last.total_steps) == (3, 3, 30, 30)
    assert {"loss", "val_accuracy", "test_loss", "test_accuracy"} <= set(last.scalars)
    assert set(last.groups) == {"body", "head"}
    assert last.HasField("first_step_duration")
    assert sum(report.steps for report in server.reports) == 30
    assert sum(report.examples for report in server.reports) == 900


def test_phases_come_in_order_and_the_devices_are_free_before_the_export(completed):
    server, _ = completed
    released = [report.devices_released for report in server.reports]
    assert released == sorted(released)
    assert all(report.progress.global_step == 30 for report in server.reports if report.devices_released)
    phases = [phase for phase, _ in itertools.groupby(report.progress.phase for report in server.reports)]
    assert phases[0] == job_pb2.Progress.PREPARING
    assert phases[-2:] == [job_pb2.Progress.EXPORTING, job_pb2.Progress.PROVING]


def test_the_log_tells_a_reader_what_ran_and_nothing_else(completed):
    _, trainer = completed
    for words in ("group body: Adam", "hidden/kernel", "epoch 3/3", "exported: test_loss", "agrees on 64"):
        assert words in trainer.log
    assert [line for line in trainer.log.splitlines() if not line.startswith("20")] == []
    assert "WARNING" not in trainer.log


def test_what_ran_is_on_record(completed):
    server, _ = completed
    resolved = server.resolved
    filled = with_defaults(server.assignment.spec, seed=0)
    assert [layer.name for layer in resolved.spec.model.layers] == [layer.name for layer in filled.model.layers]
    assert resolved.spec.training.seed == 7
    assert (resolved.spec.data.test.range.to, resolved.spec.training.steps_per_loop) == (360, 10)
    assert resolved.spec.resources.cpu_replicas == resolved.replicas == 1
    groups = {variable.path: variable.group for variable in resolved.variables}
    assert groups == {
        "hidden/kernel": "body",
        "hidden/bias": "body",
        "norm/gamma": "body",
        "norm/beta": "body",
        "classifier/kernel": "head",
        "classifier/bias": "head",
    }
    assert list(resolved.variables[0].shape) == [64, 16]
    assert [(data.source, data.examples, len(data.sha256)) for data in resolved.data] == [
        ("train", 300, 64),
        ("validation", 100, 64),
        ("test", 360, 64),
    ]
    assert set(resolved.versions) == {"gradloom", "keras", "numpy", "python", "tensorflow"}
    assert resolved.intra_op_threads >= 1


def test_a_spare_that_nobody_uses_ends_with_its_stdin(trainer):
    assert trainer.wait_ready() == b"ready\n"
    trainer.process.stdin.close()
    assert trainer.wait(10) == 0
    assert trainer.log == ""


def test_an_attempt_outlives_a_server_that_goes_away_and_loses_nothing(trainer, server):
    trainer.wait_ready()
    trainer.use(Path(server.assignment.attempt_directory), server.address)
    server.wait_until(lambda: server.reports and server.reports[-1].progress.HasField("total_steps"))
    server.stop()
    deadline = time.monotonic() + 60
    while "agrees on 64 examples" not in trainer.log and time.monotonic() < deadline:
        time.sleep(0.05)
    assert trainer.process.poll() is None, trainer.log
    assert server.finished is None
    server.start()
    assert trainer.wait() == 0, trainer.log
    assert_whole_and_proven(server)
    assert [event.epoch for event in server.events] == [1, 2, 3]


def test_a_training_that_diverges_names_the_group_that_broke_and_keeps_the_last_good_checkpoint(trainer, server):
    server.assignment.spec.variable_groups[1].optimizer.config["learning_rate"] = 1e30
    server.assignment.spec.training.checkpoint.every_steps = 1
    assert run(trainer, server) == 1
    assert server.finished.reason == job_pb2.Job.LOSS_NOT_FINITE
    assert "is not finite at step" in server.finished.message
    (fault,) = server.finished.error.field_faults
    assert fault.description == server.finished.message
    groups = server.assignment.spec.variable_groups
    named = next(position for position, group in enumerate(groups) if f"group {group.name!r}" in fault.description)
    assert fault.field == f"spec.variable_groups[{named}].optimizer.config.learning_rate"
    broken = server.finished.progress.global_step
    (newest, *_) = server.checkpoints
    assert 0 < newest.global_step < broken
    arrays = checkpoints.read(Path(newest.path)).arrays
    assert all(np.isfinite(array).all() for key, array in arrays.items() if key.startswith("model/"))


def test_several_outputs_in_mixed_precision_are_proven_and_a_doubtful_loss_is_told(trainer, server):
    spec = server.assignment.spec
    spec.model.layers[-1].config["activation"] = "softmax"
    spec.model.layers.add(type="Dense", name="again", inputs=["norm"]).config["units"] = 10
    spec.model.outputs.extend(["again", "classifier"])
    for name in spec.model.outputs:
        spec.outputs[name].loss.CopyFrom(spec.loss)
    spec.ClearField("loss")
    spec.ClearField("metrics")
    spec.variable_groups[1].match.append("again/**")
    spec.training.precision = spec_pb2.TrainingSpec.MIXED_BFLOAT16
    assert run(trainer, server) == 0, trainer.log
    told = [event.message for event in server.events if event.kind == job_pb2.Event.NOTICE]
    assert told == [
        "spec.outputs.classifier.loss: SparseCategoricalCrossentropy has from_logits true, "
        'but "classifier" gives probabilities (softmax)'
    ]
    assert told[0] in trainer.log
    scalars = server.events[-1].scalars
    assert {"loss", "again_loss", "classifier_loss", "val_again_loss"} < scalars.keys()
    assert scalars["loss"] == pytest.approx(scalars["again_loss"] + scalars["classifier_loss"], rel=1e-2)
    export = server.finished.export
    assert (export.proof_examples, export.absolute_tolerance, export.relative_tolerance) == (64, 1e-2, 1e-2)
    with np.load(Path(server.assignment.attempt_directory, "export/proof/examples.npz")) as examples:
        assert set(examples.files) == {"inputs", "outputs/again", "outputs/classifier"}


def test_a_directive_to_stop_ends_everything_at_once(trainer, server):
    server.assignment.spec.training.epochs = FOREVER
    trainer.wait_ready()
    trainer.use(Path(server.assignment.attempt_directory), server.address)
    server.wait_until(lambda: server.reports and server.reports[-1].progress.global_step)
    server.directive = attempt_pb2.ReportResponse.STOP
    assert trainer.wait(5) == 3
    assert server.finished is None
    assert files_below(server.assignment.attempt_directory) == {}
    assert not Path(server.assignment.attempt_directory, "work").exists()


def test_sigterm_ends_an_attempt_while_it_trains(trainer, server):
    server.assignment.spec.training.epochs = FOREVER
    trainer.wait_ready()
    trainer.use(Path(server.assignment.attempt_directory), server.address)
    server.wait_until(lambda: server.reports and server.reports[-1].progress.global_step)
    trainer.process.send_signal(signal.SIGTERM)
    assert trainer.wait(2) == -signal.SIGTERM


def test_a_superseded_attempt_changes_nothing(trainer, server):
    server.superseded = True
    assert run(trainer, server) == 3
    assert files_below(server.assignment.attempt_directory) == {}


def test_a_later_attempt_in_a_changed_environment_fails_and_names_the_changes(trainer, server):
    stored = server.assignment.resolved_spec
    stored.spec.CopyFrom(with_defaults(server.assignment.spec, seed=0))
    stored.replicas = 2
    stored.intra_op_threads = stored.inter_op_threads = 1
    stored.versions["keras"] = "3.14.0"
    stored.data.add(source="train", examples=300, sha256="0" * 64)
    server.assignment.attempt = 2
    assert run(trainer, server) == 1
    assert server.finished.reason == job_pb2.Job.ENVIRONMENT_CHANGED
    for difference in ("replicas was 2, is 1", 'versions.keras was "3.14.0", is "3.'):
        assert difference in server.finished.message
    assert server.finished.progress.global_step == 0


def test_a_job_that_goes_on_from_anothers_checkpoint_trains_with_the_threads_of_that_one(
    trainer, server, completed, tmp_path
):
    before, _ = completed
    resolved = before.resolved.__deepcopy__()
    resolved.intra_op_threads, resolved.inter_op_threads = 3, 2
    checkpoint = max(before.checkpoints, key=lambda one: one.global_step).__deepcopy__()
    saved = checkpoints.read(Path(before.assignment.attempt_directory, checkpoint.path))
    digest = hashlib.sha256(resolved.SerializeToString(deterministic=True)).hexdigest()
    path = tmp_path / "checkpoints" / "last.ckpt"
    written = checkpoints.write(path, tmp_path / "aside", replace(saved.header, spec_sha256=digest), saved.arrays)
    checkpoint.path, checkpoint.sha256, checkpoint.job_uid = str(path), written.sha256, saved.header.job_uid
    server.assignment.retry.checkpoint.CopyFrom(checkpoint)
    server.assignment.retry.resolved_spec.CopyFrom(resolved)
    server.assignment.spec.training.epochs = 4
    assert run(trainer, server) == 0, trainer.log
    assert (server.resolved.intra_op_threads, server.resolved.inter_op_threads) == (3, 2)
    assert [event.epoch for event in server.events if event.epoch] == [4]
    assert server.finished.progress.global_step == 40


def test_every_fault_of_spec_and_data_is_told_before_the_first_step(trainer, server, tmp_path):
    spec = server.assignment.spec
    spec.variable_groups[0].match[:] = ["hiden/**"]
    spec.loss.config["from_logits"] = "perhaps"
    spec.data.train.npz.path = str(tmp_path / "secret.npz")
    spec.data.train.ClearField("builtin")
    np.savez(tmp_path / "secret.npz", features=np.zeros(3), label=np.zeros(3))
    assert run(trainer, server) == 1
    assert server.finished.reason == job_pb2.Job.SPEC_REFUSED
    fields = {fault.field for fault in server.finished.error.field_faults}
    assert {"spec.variable_groups", "spec.variable_groups[0].match", "spec.data.train.npz.path"} <= fields
    assert server.resolved is None
    assert "spec.variable_groups[0].match" in trainer.log


def test_data_that_do_not_fit_the_model_are_unavailable(trainer, server, tmp_path):
    np.savez(tmp_path / "wrong.npz", features=np.zeros((5, 7), np.float32), label=np.zeros(5, np.int32))
    server.assignment.data_roots[:] = [str(tmp_path)]
    server.assignment.spec.data.train.CopyFrom(spec_pb2.DataSource())
    server.assignment.spec.data.train.npz.path = str(tmp_path / "wrong.npz")
    assert run(trainer, server) == 1
    assert server.finished.reason == job_pb2.Job.DATA_UNAVAILABLE
    (fault,) = server.finished.error.field_faults
    assert fault.field == "spec.data.train"
    assert "[7]" in fault.description
    assert "[8, 8]" in fault.description


def test_the_export_goes_on_in_the_process_of_a_trainer_that_gave_its_gpus_back(server, tmp_path):
    """As on GPUs, but on the CPU: the trained model's process becomes another program under the same id.

    The model is a builder's, which needs the shape of the data, and keeps a metric, which an export takes no part in.
    """
    program = f"""
import sys
from pathlib import Path
import keras
import numpy as np
from gradloom.attempt.v1 import attempt_pb2
from gradloom.spec import with_defaults
from gradloom.trainer import handover, models, session, standby
from gradloom.v1 import job_pb2, spec_pb2

def train(attempt):
    spec = with_defaults(attempt.assignment.spec, seed=0)
    spec.model.ClearField("layers")
    spec.model.builder.type = "gradloom>ReconstructingRegressor"
    spec.model.builder.config.update({{"units": 10, "hidden_units": [4]}})
    model = models.build_model(spec, (), lambda: (8, 8))
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    resolved = spec_pb2.ResolvedSpec(spec=spec, device_kind=spec_pb2.ResolvedSpec.GPU, replicas=1)
    resolved.data.add(source="train", feature_shape=[8, 8])
    attempt.control.record_resolved_spec(attempt_pb2.RecordResolvedSpecRequest(resolved_spec=resolved))
    attempt.reporter.update(epoch=3, scalars={{"loss": 0.25}})
    attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=3))
    inputs = np.random.default_rng(1).normal(size=(64, 8, 8)).astype(np.float32)
    np.save({str(tmp_path / "expected.npy")!r}, model(inputs).numpy())
    handover.hand_over(attempt, model, inputs, ["gradloom", "keras"])

standby.prepare_process()
sys.exit(session.serve(standby.read_instruction(), train))
"""
    line = standby.Instruction(server.assignment.attempt_directory, server.address, TOKEN).to_line()
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, cwd=Path(__file__).parents[1])
    process.communicate(line, timeout=120)
    assert process.returncode == 0
    assert_whole_and_proven(server)
    with np.load(Path(server.assignment.attempt_directory, "export/proof/examples.npz")) as examples:
        np.testing.assert_allclose(examples["outputs"], np.load(tmp_path / "expected.npy"), atol=1e-5)
    assert [event.epoch for event in server.events] == [3]
    assert server.finished.progress.epoch == 3
    assert server.finished.progress.scalars["loss"] == 0.25
    released = [report.devices_released for report in server.reports]
    assert released == sorted(released)
    assert released[-1]


def test_no_process_is_left_when_a_trainer_has_ended(completed):
    _, trainer = completed
    with pytest.raises(ProcessLookupError):
        os.killpg(trainer.process.pid, 0)


def test_an_unknown_program_is_a_bad_usage():
    done = subprocess.run([sys.executable, "-m", "gradloom.trainer", "dance"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
