"""Own components in the trainer: installed packages, and source that came with a job; what they register and raise."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.catalogue import Catalogue
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.spec import with_defaults
from gradloom.trainer import installed, models, outcome, user_code
from gradloom.trainer.construction import construct
from gradloom.trainer.reference import packages_of_components
from gradloom.trainer.requirements import require_reloadable, saved_whole
from gradloom.trainer.resolved import EnvironmentChangedError, require_unchanged
from gradloom.v1 import job_pb2, spec_pb2
from tests.own_packages import PACKAGES, own_catalogue, write_package
from tests.specs import SOUND, changed, faults_of

REGISTER = '@keras.saving.register_keras_serializable(package="mine")\n'
SOURCE = f'''import keras

{REGISTER}class Half(keras.layers.Layer):
    """Halves.

    Args:
        inner: A layer that comes before.
    """

    def __init__(self, inner=None, divisor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.divisor = inner, divisor

    def call(self, inputs):
        if self.inner is not None:
            inputs = self.inner(inputs)
        return inputs / self.check(self.divisor)

    def check(self, divisor):
        return 1 / (1 / divisor)
'''
LOSS_WITH_HALF_A_CONFIG = f'''import keras

{REGISTER}class Scaled(keras.losses.Loss):
    """Scales the error.

    Args:
        factor: By what.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.scale = factor

    def call(self, y_true, y_pred):
        return self.scale * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)
'''


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Keras's registry and the catalogue as they were before."""
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    # What other tests register would be code of users' here, and the frames of these tests with it.
    for name in [name for name, member in before.items() if member.__module__.startswith("tests.")]:
        del registry[name]
    modules = set(sys.modules)
    installed.packages.cache_clear()
    with own_catalogue():
        yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    registry.clear()
    registry.update(before)
    installed.packages.cache_clear()


def fault_of(source: str) -> str:
    """What is told of a source that must not run."""
    before = dict(keras.saving.get_custom_objects())
    with pytest.raises(InvalidRequestError) as caught:
        user_code.run(source)
    (fault,) = caught.value.faults
    assert fault.field == "spec.user_code.source"
    assert keras.saving.get_custom_objects() == before
    return fault.description


def bring_in(source: str) -> None:
    job = changed("spec.user_code", {"source": source})
    user_code.bring_in(job.spec)


def build(*layers: dict[str, Any]) -> keras.Model:
    given = [SOUND["spec"]["model"]["layers"][0], *layers]
    return models.build_model(with_defaults(changed("spec.model.layers", given).spec, seed=1))


def test_what_source_registers_is_in_the_catalogue_with_what_its_constructor_takes() -> None:
    bring_in(SOURCE)
    entry = Catalogue.load().get("layer", "mine>Half")
    assert entry is not None
    assert entry.doc == "Halves."
    assert {name: parameter.default for name, parameter in entry.by_name.items()} == {
        **{"inner": None, "divisor": 2.0, "name": None},
        **{"trainable": True, "dtype": None, "activity_regularizer": None},
    }
    inner = {"type": "Dense", "config": {"units": 3, "kernel_initializer": "ones"}}
    model = build({"type": "Flatten"}, {"type": "mine>Half", "name": "half", "config": {"inner": inner}})
    np.testing.assert_allclose(model(np.ones((1, 8, 8))), np.full((1, 3), 32.0))
    assert "gradloom_user_code" in packages_of_components(), "the proof must do without it"


def test_a_function_of_tensorflow_may_be_registered_and_the_proof_does_not_do_without_tensorflow() -> None:
    bring_in("import keras, tensorflow as tf\nkeras.saving.register_keras_serializable('mine', 'gelu')(tf.nn.gelu)\n")
    model = build({"type": "Flatten"}, {"type": "Dense", "config": {"units": 1, "activation": "mine>gelu"}})
    assert model(np.ones((1, 8, 8))).shape == (1, 1)
    assert "tensorflow" not in packages_of_components()


def test_source_that_fails_is_told_with_its_line() -> None:
    told = fault_of("import keras\n\ndef f():\n    return {}['x']\n\nf()\n")
    assert told == "user code raised KeyError in line 4, in f: 'x'"
    assert fault_of("x = 1\nimport nowhere_to_be_found\n").startswith(
        "user code raised ModuleNotFoundError in line 2: "
    )
    assert fault_of("import sys\nsys.exit('bye')\n") == "user code raised SystemExit in line 2: bye"


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("x = 1\n", "must register a component at least"),
        (SOURCE.replace("mine", "gradloom"), "must be registered under a package of its own; gradloom and keras"),
        (SOURCE.replace("mine", "keras"), '"keras>Half" must be registered under a package of its own'),
        (SOURCE.replace('"mine"', '"gradloom", name="LayerNormalization"'), "is registered already, and must stay"),
        (
            SOURCE + "keras.saving.get_custom_objects()['Dense'] = Half\n",
            '"Dense" must be registered as "package>Name"',
        ),
        (SOURCE + "keras.saving.get_custom_objects().clear()\n", "is registered already, and must stay as it is"),
    ],
)
def test_source_registers_under_a_name_of_its_own_and_replaces_nothing(source: str, rule: str) -> None:
    assert rule in fault_of(source)
    assert keras.layers.Dense(1).get_config()["units"] == 1


def test_an_exception_of_user_code_says_its_line_and_ends_the_job_before_the_first_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bring_in(SOURCE)
    with pytest.raises(InvalidRequestError) as caught:
        build({"type": "mine>Half", "name": "half", "config": {"divisor": 0.0}})
    (fault,) = caught.value.faults
    assert fault.field == "spec.model.layers[1]"
    assert fault.description.startswith("user code raised ZeroDivisionError in line 21, in check: float division by")
    assert 'File "<user_code>", line 21, in check' in caplog.text
    finish = outcome.failure(caught.value, before_first_step=True)
    assert finish.reason == job_pb2.Job.USER_CODE_RAISED
    assert finish.error.exception_type == "ZeroDivisionError"
    assert [fault.field for fault in finish.error.field_faults] == ["spec.model.layers[1]"]
    assert "    return 1 / (1 / divisor)" in finish.error.log_lines, "the line itself, though it is in no file"


@pytest.mark.parametrize("before_first_step", [True, False])
def test_what_user_code_raises_is_its_own_reason_at_any_step(before_first_step: bool) -> None:
    bring_in(SOURCE)
    layer = construct(Catalogue.load().get("layer", "mine>Half"), {"divisor": 0.0}, "it")  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError) as caught:
        layer.check(0.0)
    finish = outcome.failure(caught.value, before_first_step)
    assert finish.reason == job_pb2.Job.USER_CODE_RAISED
    assert finish.message == "user code raised ZeroDivisionError in line 21, in check: float division by zero"


def test_what_a_python_function_of_a_graph_raises_is_user_code_s_though_tensorflow_tells_it_as_text() -> None:
    raising = (
        "    def call(self, inputs):\n        return tf.py_function(lambda inputs: {}['x'], [inputs], inputs.dtype)\n"
    )
    bring_in(f"import keras\nimport tensorflow as tf\n\n{REGISTER}class Raising(keras.layers.Layer):\n{raising}")
    layer = construct(Catalogue.load().get("layer", "mine>Raising"), {}, "it")  # type: ignore[arg-type]
    with pytest.raises(tf.errors.OpError) as caught:
        tf.function(layer)(tf.ones([2]))
    finish = outcome.failure(caught.value, before_first_step=False)
    assert finish.reason == job_pb2.Job.USER_CODE_RAISED
    assert finish.message == "user code raised KeyError in line 7, in <lambda>: 'x'"
    assert finish.error.exception_type == "KeyError"


def test_a_fault_of_the_spec_beside_what_user_code_raised_is_what_must_be_mended_first() -> None:
    raised = user_code.UserCodeFault("spec.model.layers[1]", "user code raised KeyError in line 4: 'x'", KeyError("x"))
    own = FieldFault("spec.loss", "is wrong")
    reasons = [
        outcome.reason_of(InvalidRequestError(faults), before_first_step=True) for faults in ([raised], [own, raised])
    ]
    assert reasons == [job_pb2.Job.USER_CODE_RAISED, job_pb2.Job.SPEC_REFUSED]


def test_where_user_code_is_while_it_hangs_is_told_with_its_line_and_the_stack_of_its_thread() -> None:
    reached = threading.Event()
    go_on = threading.Event()
    bring_in(
        f"import keras\n\n{REGISTER}class Hanging(keras.layers.Layer):\n    def wait(self, reached, go_on):\n"
        "        reached.set()\n        go_on.wait(60)\n"
    )
    layer = construct(Catalogue.load().get("layer", "mine>Hanging"), {}, "it")  # type: ignore[arg-type]
    assert user_code.at_work() == ("", []), "nothing but this thread is at work"
    thread = threading.Thread(target=layer.wait, args=(reached, go_on))
    thread.start()
    try:
        assert reached.wait(60)
        place, stack = user_code.at_work()
    finally:
        go_on.set()
        thread.join()
    assert place == "user code is in line 7, in wait: go_on.wait(60)"
    assert '  File "<user_code>", line 7, in wait' in stack


def test_a_class_that_could_not_be_loaded_back_is_refused_before_the_training() -> None:
    bring_in(SOURCE)
    layers = [{"type": "Flatten"}, {"type": "mine>Half", "name": "half"}]
    spec = with_defaults(changed("spec.model.layers", [SOUND["spec"]["model"]["layers"][0], *layers]).spec, seed=1)
    model = models.build_model(spec)
    require_reloadable(spec, [model])
    keras.saving.get_custom_objects()["mine>Half"].get_config = lambda self: {"halves": 2}
    with pytest.raises(InvalidRequestError) as caught:
        require_reloadable(spec, [model])
    (fault,) = caught.value.faults
    assert fault.field == "spec.export.formats"
    assert "KERAS could not be loaded back" in fault.description
    assert "halves" in fault.description
    del spec.export.formats[:]
    spec.export.formats.append(spec_pb2.ExportSpec.SAVED_MODEL)
    require_reloadable(spec, [model])


def test_a_loss_that_could_not_be_loaded_back_is_refused_before_the_training() -> None:
    bring_in(LOSS_WITH_HALF_A_CONFIG)
    spec = with_defaults(changed("spec.loss", {"type": "mine>Scaled", "config": {"factor": 2.0}}).spec, seed=1)
    (target,) = models.build_targets(spec)
    with pytest.raises(InvalidRequestError, match=r"KERAS could not be loaded back: .*factor"):
        require_reloadable(spec, [saved_whole(target.loss)])


def test_a_layer_that_takes_no_name_is_refused_with_what_to_do() -> None:
    bring_in(SOURCE.replace(", **kwargs", "").replace("(**kwargs)", "()"))
    with pytest.raises(InvalidRequestError, match="is not a parameter of mine>Half: let its constructor take"):
        build({"type": "mine>Half", "name": "half"})


def test_an_installed_package_brings_its_components_and_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PACKAGES)
    (package,) = installed.packages()
    assert (package.name, package.version, package.problem) == ("acme-layers", "1.4", "")
    kinds = {entry.type: entry.kind for entry in package.entries}
    assert kinds == {
        **{"acme>Scale": "layer", "acme>Stack": "layer", "acme>CappedError": "loss", "acme>LargestError": "metric"},
        **{"acme>Orthant": "constraint", "acme>Tower": "model", "acme>gelu_ish": "activation"},
    }
    config = {"units": 3, "activation": "acme>gelu_ish", "kernel_constraint": "acme>Orthant"}
    job = changed("spec.model.layers.2.config", config)
    assert faults_of(job, catalogue=Catalogue.load()) == []
    hidden = models.build_model(job.spec).get_layer("hidden")
    assert float(hidden.activation(1.0)) == pytest.approx(1 / (1 + np.exp(-1.702)))
    assert type(hidden.kernel_constraint).__name__ == "Orthant"
    assert installed.versions_for(job.spec) == {"acme-layers": "1.4"}
    stored = spec_pb2.ResolvedSpec(versions={"acme-layers": "1.3"})
    with pytest.raises(EnvironmentChangedError, match=r'versions\["acme-layers"\] was "1.3", is "1.4"'):
        require_unchanged(stored, spec_pb2.ResolvedSpec(versions=installed.versions_for(job.spec)))
    assert installed.versions_for(changed("spec.user_code", {"source": "1"}).spec) == {"acme-layers": "1.4"}
    assert installed.versions_for(changed("display_name", "acme>Scalene").spec) == {}
    assert "acme_layers" in packages_of_components()


@pytest.mark.parametrize(
    ("source", "value", "problem"),
    [
        (SOURCE + "raise OSError('no disk')\n", None, "OSError: no disk"),
        (SOURCE + "import sys; sys.exit()\n", None, "SystemExit: SystemExit"),
        ("import nowhere_to_be_found\n", None, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (SOURCE.replace("mine", "gradloom"), None, '"gradloom>Half" must be registered under a package of its own'),
        (SOURCE.replace('"mine"', '"acme", name="Scale"'), None, '"acme>Scale" is registered already'),
        (SOURCE, "zebra:nothing", "AttributeError: module 'zebra' has no attribute 'nothing'"),
        (SOURCE + "x = print\n", "zebra:x", "names zebra:x, which is neither a module nor registered"),
    ],
)
def test_a_package_that_fails_is_left_out_and_the_others_are_not_concerned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, value: str | None, problem: str
) -> None:
    monkeypatch.syspath_prepend(PACKAGES)
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path, "zebra", source, value=value)
    acme, zebra = installed.packages()
    assert len(acme.entries) == 7
    assert zebra.entries == ()
    assert problem in zebra.problem
    assert Catalogue.load().get("layer", "mine>Half") is None
    assert Catalogue.load().get("layer", "acme>Scale") is not None


def test_what_a_package_registers_is_its_own_whoever_imports_it_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(PACKAGES)
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path, "aardvark", "import acme_layers\n" + SOURCE)
    aardvark, acme = sorted(installed.packages(), key=lambda package: package.name)
    assert [entry.type for entry in aardvark.entries] == ["mine>Half"]
    assert len(acme.entries) == 7


def test_a_package_may_name_a_class_and_what_the_server_left_out_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path, "zebra_of_a_class", SOURCE, value="zebra_of_a_class:Half")
    write_package(tmp_path, "hangs", "while True: pass\n")
    monkeypatch.setenv("GRADLOOM_PACKAGES_LEFT_OUT", "other,hangs")
    (package,) = installed.packages()
    assert [entry.type for entry in package.entries] == ["mine>Half"]
