"""A team's own components: those of an installed package, and those whose source comes with the job."""

import os
import subprocess
import sys

import pytest

from gradloom.v1 import job_pb2

from .server import ROOT, digits_job

PACKAGES = ROOT / "tests" / "packages"
LOAD = "import sys, keras, acme_layers, user_code; keras.saving.load_model(sys.argv[1])"
SOURCE = '''
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mine")
class Tilt(keras.layers.Layer):
    """Adds one trainable number to all."""

    def build(self, input_shape):
        self.offset = self.add_weight(name="offset", shape=(), initializer="zeros")

    def call(self, inputs):
        print("seen once")
        return inputs + self.offset


@keras.saving.register_keras_serializable(package="mine")
def soft_square(inputs):
    return ops.square(inputs) / (1 + ops.abs(inputs))
'''


@pytest.fixture
def packages_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGES), *filter(None, [path])]))


def layers_of(job: dict) -> list:
    return job["spec"]["model"]["layers"]


def test_a_job_of_own_components_is_trained_exported_and_proven(packages_installed, new_server, tmp_path):
    server = new_server("--user-code")
    job = digits_job(epochs=2, user_code={"source": SOURCE})
    *lower, hidden, classifier = layers_of(job)
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
        assert ended.resolved_spec.versions["acme-layers"] == "1.4"
        paths = {variable.path for variable in ended.resolved_spec.variables}
        assert {"tilt/offset", "hidden_stack/inner/kernel"} <= paths
        client.download(ended, tmp_path / "files")
        (file,) = (tmp_path / "files").rglob("*.keras")
        readme = file.with_name("README.txt").read_text()
        for name in ("mine>Tilt", "mine>soft_square", "acme>Orthant", "acme>Stack", "acme>Scale"):
            assert name in readme
        assert "install acme-layers 1.4 and import acme_layers" in readme
        subprocess.run([sys.executable, "-c", LOAD, str(file)], cwd=file.parent, check=True)
