"""The export's files and their proof, with real models, real files and the real clean process."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom import components
from gradloom.trainer import export, proof, prover, reference
from gradloom.trainer.plain_loss import PlainLoss
from gradloom.trainer.targets import Target
from gradloom.v1 import job_pb2, spec_pb2

BOTH = [spec_pb2.ExportSpec.SAVED_MODEL, spec_pb2.ExportSpec.KERAS]


@keras.saving.register_keras_serializable(package="tests_of_export")
class Doubled(keras.layers.Layer):
    """A user's own layer, which no serving process has."""

    def call(self, inputs):
        return 2 * inputs


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(7)
    layers = [
        keras.Input((6,)),
        Doubled(),
        keras.layers.Dense(5, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ]
    return keras.Sequential(layers, name="small")


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(7).normal(size=(proof.PROOF_EXAMPLES, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def written(model, inputs, tmp_path_factory):
    paths = export.ExportPaths(tmp_path_factory.mktemp("work") / "export", "small", 3)
    export.write_export(paths, model, BOTH, inputs, reference.reference_outputs(model, inputs))
    return paths


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (components.Huber(threshold=2.5), 2.5 * 4.0 - 2.5**2 / 2),
        (keras.losses.Huber(delta=2.5), 2.5 * 4.0 - 2.5**2 / 2),  # Keras's own get_config forgets delta
        (PlainLoss(components.cauchy), None),
    ],
)
def test_a_keras_file_has_the_loss_with_its_settings_and_the_metrics(loss, expected, model, inputs, tmp_path):
    target = Target("", loss, metrics=(keras.metrics.MeanAbsoluteError(name="distance"),))
    paths = export.ExportPaths(tmp_path / "export", "small", 1)
    outputs = reference.reference_outputs(model, inputs)
    if expected is None:
        expected = float(np.mean(loss.call(outputs[0] + 4.0, outputs[0])))
    export.write_export(paths, model, [spec_pb2.ExportSpec.KERAS], inputs, outputs, [target])
    loaded = keras.saving.load_model(paths.keras_file)
    found = loaded.evaluate(inputs, outputs[0] + 4.0, verbose=0, return_dict=True)
    assert found == pytest.approx({"loss": expected, "distance": 4.0}, rel=1e-4)
    assert "PlainLoss" not in zipfile.ZipFile(paths.keras_file).read("config.json").decode()


def changed_reference(written, tmp_path, change):
    with np.load(written.examples) as arrays:
        inputs, outputs = arrays["inputs"], arrays["outputs"]
    examples = tmp_path / "examples.npz"
    np.savez(examples, inputs=inputs, outputs=change(outputs))
    return examples


def test_an_export_without_the_users_classes_gives_the_trained_models_results(written):
    assert "tests" in reference.packages_of_components()
    with proof.Prover(reference.packages_of_components()) as clean:
        proven = clean.prove(written.saved_model, written.examples)
    assert proven.examples == 64
    assert 0 <= proven.largest_difference < 1e-5


def test_a_layer_that_augments_in_training_does_not_do_so_in_the_export(tmp_path):
    """Keras's own `model.export` leaves it on: these layers say training=True where nobody says anything."""
    keras.utils.set_random_seed(7)
    layers = [keras.Input((8, 8, 1)), keras.layers.RandomFlip(), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers, name="augmented")
    inputs = np.random.default_rng(7).normal(size=(proof.PROOF_EXAMPLES, 8, 8, 1)).astype(np.float32)
    paths = export.ExportPaths(tmp_path / "export", "augmented", 1)
    export.write_export(paths, model, BOTH, inputs, reference.reference_outputs(model, inputs))
    with proof.Prover() as clean:
        assert clean.prove(paths.saved_model, paths.examples).largest_difference < 1e-5


@pytest.mark.parametrize("name", ["self", "class", "None"])
def test_an_input_may_have_a_name_that_no_argument_can_have(name, tmp_path):
    model = keras.Sequential([keras.Input((4,), name=name), keras.layers.Dense(3)], name="named")
    paths = export.ExportPaths(tmp_path / "export", "named", 1)
    export.write_export(paths, model, BOTH[:1], np.zeros((1, 4), np.float32), [np.zeros((1, 3), np.float32)])
    signature = tf.saved_model.load(str(paths.saved_model)).signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == [f"{name}_input"]


def test_an_export_that_differs_is_refused_with_the_largest_difference(written, tmp_path):
    def one_wrong(outputs):
        outputs[63, 2] += 0.25
        return outputs

    with proof.Prover() as clean, pytest.raises(proof.ExportDisagreedError, match=r"by up to 0\.25; .* 1e-05 absolute"):
        clean.prove(written.saved_model, changed_reference(written, tmp_path, one_wrong))


def test_an_export_of_another_shape_is_refused(written, tmp_path):
    with proof.Prover() as clean, pytest.raises(proof.ExportDisagreedError, match=r"shape \[64, 3\].*of \[64, 2\]"):
        clean.prove(written.saved_model, changed_reference(written, tmp_path, lambda outputs: outputs[:, :2]))


def test_a_file_that_is_no_saved_model_is_refused(written, tmp_path):
    with proof.Prover() as clean, pytest.raises(proof.ExportDisagreedError, match="cannot be served without"):
        clean.prove(tmp_path, written.examples)


def test_the_clean_process_cannot_import_the_project_nor_the_users_classes():
    program = f"""
import sys
sys.path.insert(0, {str(Path(prover.__file__).parents[2])!r})
sys.path.insert(0, {str(Path(prover.__file__).parent)!r})
import prover
sys.meta_path.insert(0, prover.ImportBlocker(["gradloom", "keras", "tests"]))
for name in ("gradloom", "gradloom.components", "gradloom.trainer.proof", "keras", "keras.layers", "tests.test_export"):
    try:
        __import__(name)
    except ImportError as error:
        assert "must not be needed" in str(error), error
    else:
        sys.exit(name + " was imported")
prover.require_blocked(["gradloom", "keras", "tests"])
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_a_clean_process_that_can_import_the_project_says_so():
    with pytest.raises(RuntimeError, match="gradloom can be imported"):
        prover.require_blocked(["gradloom"])


def test_a_clean_process_ends_when_nobody_needs_it():
    clean = proof.Prover()
    process = clean._process
    clean.close()
    assert process.returncode == -9


def test_a_clean_process_dies_with_its_trainer():
    read, write = subprocess.PIPE, subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-P", prover.__file__, "gradloom", "keras"], stdin=read, stdout=write)
    output, _ = process.communicate(timeout=60)
    assert (output, process.returncode) == (b"ready\n", 0)


def test_a_keras_file_loads_back_and_gives_the_trained_models_results(written, inputs, model):
    proven = reference.prove_keras_file(written.keras_file, inputs, reference.reference_outputs(model, inputs))
    assert (proven.examples, proven.largest_difference) == (64, 0.0)


def test_a_keras_file_of_other_weights_is_refused(written, inputs, model):
    with pytest.raises(proof.ExportDisagreedError, match=r"small\.keras differs"):
        reference.prove_keras_file(written.keras_file, inputs, [reference.reference_outputs(model, inputs)[0] + 0.1])


def test_a_model_whose_outputs_are_not_finite_is_not_proven(inputs):
    broken = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, kernel_initializer="ones")], name="broken")
    broken.set_weights([np.full((6, 2), np.nan, np.float32), np.zeros(2, np.float32)])
    with pytest.raises(proof.ExportDisagreedError, match="not finite for 64 of 64"):
        reference.reference_outputs(broken, inputs)


def test_the_manifest_names_every_file_with_its_digest(written):
    artifacts = export.manifest(written.root, attempt=3)
    by_path = {artifact.path: artifact for artifact in artifacts}
    assert {"export/small.keras", "export/proof/examples.npz", "export/small/3/saved_model.pb"} <= set(by_path)
    assert len(by_path) == sum(path.is_file() for path in written.root.rglob("*"))
    for path, artifact in by_path.items():
        content = (written.root / path.removeprefix("export/")).read_bytes()
        assert artifact.size_bytes == len(content)
        assert artifact.sha256 == hashlib.sha256(content).hexdigest()
        assert (artifact.kind, artifact.attempt) == (job_pb2.Artifact.EXPORT, 3)


def test_only_the_formats_asked_for_are_written(model, inputs, tmp_path):
    paths = export.ExportPaths(tmp_path / "export", "small", 1)
    export.write_export(paths, model, [spec_pb2.ExportSpec.KERAS], inputs, reference.reference_outputs(model, inputs))
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        "export/README.txt",
        "export/proof/examples.npz",
        "export/small.keras",
    ]


def test_an_export_comes_into_place_whole_and_never_over_another(tmp_path):
    for name in ("work", "target"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "file").write_text(name)
    with pytest.raises(OSError, match="not empty"):
        export.put_in_place(tmp_path / "work", tmp_path / "target")
    assert (tmp_path / "target" / "below" / "file").read_text() == "target"
    export.put_in_place(tmp_path / "work", tmp_path / "fresh")
    assert (tmp_path / "fresh" / "below" / "file").read_text() == "work"
    assert not (tmp_path / "work").exists()
