"""A team's own components: those of an installed package, and those whose source comes with the job."""

import os
from pathlib import Path

import pytest

from gradloom.v1 import job_pb2
from tests.own_packages import PACKAGES, write_package

from .server import digits_job

SOURCE = '''
import keras
from keras import ops

ONES = ops.ones(3)

with open("notes.txt", "w") as notes:
    notes.write("for myself")


@keras.saving.register_keras_serializable(package="mine")
class Tilt(keras.layers.Layer):
    """Adds one trainable number to all."""

    def build(self, input_shape):
        self.offset = self.add_weight(name="offset", shape=(), initializer="zeros")

    def call(self, inputs):
        print("seen once")
        return inputs + self.offset


@keras.saving.register_keras_serializable(package="mine")
class Rows(keras.metrics.Metric):
    """Counts rows, and gives the variable itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rows = self.add_weight(name="rows", shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows.assign_add(ops.cast(ops.shape(y_pred)[0], "float32"))

    def result(self):
        return self.rows


@keras.saving.register_keras_serializable(package="mine")
def soft_square(inputs):
    return ops.square(inputs) / (1 + ops.abs(inputs))
'''


@pytest.fixture
def packages_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that works, and two that do not."""
    (tmp_path / "broken").mkdir()
    write_package(tmp_path / "broken", "zebra", "raise OSError('no stripes')\n")
    write_package(tmp_path / "broken", "tensors", "import keras\nONES = keras.ops.ones(3)\n")
    path = filter(None, [str(PACKAGES), str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def test_a_job_of_own_components_is_trained_exported_and_proven(packages_installed, new_server, tmp_path):
    server = new_server("--user-code")
    job = digits_job(epochs=2, user_code={"source": SOURCE})
    job["spec"]["metrics"].append({"type": "mine>Rows", "name": "rows"})
    job["spec"]["resources"] = {"cpu_replicas": 2}
    *lower, hidden, classifier = job["spec"]["model"]["layers"]
    hidden["config"] = {"units": 32, "activation": "mine>soft_square", "kernel_constraint": {"type": "acme>Orthant"}}
    blocks = [{"type": "Dense", "config": {"units": 24, "name": "inner"}}, {"type": "acme>Scale"}]
    stack = {"type": "acme>Stack", "name": "hidden_stack", "config": {"blocks": blocks}}
    job["spec"]["model"]["layers"] = [*lower, {"type": "mine>Tilt", "name": "tilt"}, hidden, stack, classifier]
    job["spec"]["variable_groups"][0]["match"] = ["hidden*/**", "tilt/**"]
    with server.client() as client:
        kinds = {component.type: component.kind for component in client.components()}
        assert {"acme>Stack", "acme>Orthant", "acme>CappedError", "acme>Tower"} <= kinds.keys()
        ended = client.wait(client.submit(job), timeout=120)
        log = "\n".join(line.text for line in client.logs(ended))
        assert ended.state == job_pb2.Job.SUCCEEDED, log
        assert ended.progress.scalars["val_rows"] == 1437 - 1200
        assert ended.resolved_spec.versions["acme-layers"] == "1.4"
        paths = {variable.path for variable in ended.resolved_spec.variables}
        assert {"tilt/offset", "hidden_stack/inner/kernel"} <= paths
        assert "Python-side state: Tilt, line 19: `print('seen once')` happens once" in log
        client.download(ended, tmp_path / "files")
        (file,) = (tmp_path / "files").rglob("*.keras")
        readme = file.with_name("README.txt").read_text()
        for name in ("mine>Tilt", "mine>soft_square", "acme>Orthant", "acme>Stack", "acme>Scale"):
            assert name in readme
        assert "install acme-layers 1.4 and import acme_layers" in readme
    assert not [*Path.cwd().glob("notes.txt"), *server.data_directory.rglob("notes.txt")], (
        "files without a place outlive"
    )
    told = server.log_path.read_text()
    assert "Package zebra is left out: OSError: no stripes" in told
    assert "Package tensors is left out: it makes a tensor or a variable while it is imported" in told
