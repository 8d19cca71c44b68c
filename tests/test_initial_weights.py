"""A model begins with the weights of another job's checkpoint, found by path; nothing is guessed."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import InvalidRequestError
from gradloom.trainer import checkpoints, initial_weights, models, strategy
from gradloom.trainer.checkpoints import Header
from gradloom.trainer.datasets import DataUnavailable
from gradloom.v1 import spec_pb2

JOB = "projects/default/jobs/source"


def a_model(units: int = 5, hidden: str = "hidden", dtype: str = "float32") -> keras.Model:
    """A network with every kind of variable: weights, statistics, a random generator's state; its weights are drawn."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, name=hidden, bias_initializer="normal", dtype=dtype),
            keras.layers.BatchNormalization(name="norm", dtype=dtype),
            keras.layers.Dropout(0.5, name="drop", seed=7, dtype=dtype),
            keras.layers.Dense(units, name="head", bias_initializer="normal", dtype=dtype),
        ],
        name="net",
    )
    for variable in model.weights[2:6]:  # Also what begins as zeros and ones.
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return model


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {path: np.array(variable) for path, variable in models.variable_paths(model)}


def saved(directory: Path, arrays: dict[str, np.ndarray], **state: object) -> attempt_pb2.Checkpoint:
    """A checkpoint with these arrays, as it is assigned to an attempt."""
    path = directory / "1" / "checkpoints" / "70.ckpt"
    path.parent.parent.mkdir(exist_ok=True)
    header = Header("uid", "ab" * 32, attempt=1, global_step=70, epoch=3, state=state)
    written = checkpoints.write(path, directory / "aside", header, arrays)
    return attempt_pb2.Checkpoint(path=str(path), sha256=written.sha256, job=JOB, global_step=70)


def saved_model(directory: Path, model: keras.Model) -> attempt_pb2.Checkpoint:
    """As a training saves its model, beside what an optimizer keeps."""
    arrays = {f"model/{i}/{path}": np.array(v) for i, (path, v) in enumerate(models.variable_paths(model))}
    slots = {"group/all/optimizer/2 net_hidden_kernel_momentum": np.ones((4, 3), np.float32)}
    return saved(directory, arrays | slots)


def load(model: keras.Model, checkpoint: attempt_pb2.Checkpoint, *match: str) -> spec_pb2.ResolvedWeights:
    wanted = spec_pb2.InitialWeights(job="source", match=match or ["**"])
    return initial_weights.load(model, initial_weights.read_source(checkpoint), wanted)


def faults(model: keras.Model, checkpoint: attempt_pb2.Checkpoint, *match: str) -> dict[str, str]:
    before = values_of(model)
    with pytest.raises(InvalidRequestError) as refusal:
        load(model, checkpoint, *match)
    for path, value in values_of(model).items():
        assert np.array_equal(value, before[path]), "a refusal changes nothing"
    return {fault.field.removeprefix("spec.model.initial_weights"): fault.description for fault in refusal.value.faults}


def test_every_weight_is_loaded_and_the_states_of_random_generators_are_not(tmp_path: Path) -> None:
    source, model = a_model(), a_model()
    for variable in source.variables:
        variable.assign(variable + 1)
    fresh, there = values_of(model), values_of(source)
    resolved = load(model, saved_model(tmp_path, source))
    for path, value in values_of(model).items():
        assert np.array_equal(value, fresh[path] if "seed" in path else there[path]), path
    assert list(resolved.loaded) == [path for path in there if "seed" not in path]
    assert len(resolved.loaded) == len(there) - 1 == 8
    assert (resolved.job, resolved.global_step, list(resolved.not_loaded)) == (JOB, 70, [])
    content = (tmp_path / "1" / "checkpoints" / "70.ckpt").read_bytes()
    assert resolved.sha256 == hashlib.sha256(content).hexdigest()


def test_what_differs_in_shape_or_is_not_there_keeps_its_initializer_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, model = a_model(units=5, hidden="hidden_1"), a_model(units=10)
    fresh = values_of(model)
    with caplog.at_level("INFO", "gradloom.trainer.initial_weights"):
        resolved = load(model, saved_model(tmp_path, source))
    assert list(resolved.loaded) == ["norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"]
    assert list(resolved.not_loaded) == [
        "hidden/kernel: is not there (there is hidden_1/kernel)",
        "hidden/bias: is not there (there is hidden_1/bias)",
        "head/kernel: is [3, 5] there, [3, 10] here",
        "head/bias: is [5] there, [10] here",
    ]
    for path in ("hidden/kernel", "head/kernel", "head/bias"):
        assert np.array_equal(values_of(model)[path], fresh[path])
    assert "initial weight head/bias [10]: is [5] there, [10] here" in caplog.messages
    assert "initial weight norm/beta [3]: loaded" in caplog.messages
    told = initial_weights.summary(resolved)
    assert told.startswith(f"begins with weights of {JOB} after step 70: 4 loaded, 4 not (hidden/kernel: is not there")


def test_patterns_say_which_are_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, model = a_model(units=5), a_model(units=10)
    source.get_layer("hidden").kernel.assign(np.ones((4, 3)))
    with caplog.at_level("INFO", "gradloom.trainer.initial_weights"):
        resolved = load(model, saved_model(tmp_path, source), "hidden/*", "**/gamma")
    assert list(resolved.loaded) == ["hidden/kernel", "hidden/bias", "norm/gamma"]
    assert list(resolved.not_loaded) == [], "head was not asked for"
    assert np.array_equal(values_of(model)["hidden/kernel"], np.ones((4, 3)))
    assert "initial weight head/kernel [3, 10]: not asked for" in caplog.messages


def test_a_pattern_that_loads_nothing_is_refused_with_what_is_near(tmp_path: Path) -> None:
    checkpoint = saved_model(tmp_path, a_model(units=5))
    told = faults(a_model(units=10), checkpoint, "hidden/**", "haed/kernel", "head/*")
    assert told.keys() == {".match[1]", ".match[2]"}
    assert (
        '"haed/kernel" matches none; did you mean "head/kernel"?; weights: hidden/kernel; hidden/bias'
        in (told[".match[1]"])
    )
    assert '"head/*" matches head/kernel, which is [3, 5] there, [3, 10] here; head/bias, which' in told[".match[2]"]
    other = saved(tmp_path, {"model/0/other/kernel": np.ones((2, 2), np.float32)})
    assert "matches hidden/kernel, which is not there" in faults(a_model(), other)[".match[0]"]


def test_floating_point_types_are_cast_and_others_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, model = a_model(), a_model(dtype="float64")
    arrays = {f"model/{i}/{path}": np.array(v) for i, (path, v) in enumerate(models.variable_paths(source))}
    arrays["model/1/hidden/bias"] = arrays["model/1/hidden/bias"].astype(np.int32)
    with caplog.at_level("INFO", "gradloom.trainer.initial_weights"):
        resolved = load(model, saved(tmp_path, arrays))
    assert np.array_equal(values_of(model)["hidden/kernel"], values_of(source)["hidden/kernel"].astype(np.float64))
    assert "initial weight hidden/kernel [4, 3]: loaded, cast from float32 to float64" in caplog.messages
    assert list(resolved.not_loaded) == ["hidden/bias: is int32 there, float64 here"]


def test_weights_that_share_a_path_are_told_apart_by_their_order(tmp_path: Path) -> None:
    kernels = [np.full((4, 3), number, np.float32) for number in (1, 2)]
    arrays = {f"model/{index}/hidden/kernel": kernel for index, kernel in enumerate(kernels)}
    source = initial_weights.read_source(saved(tmp_path, arrays))
    assert [list(array[0]) for array in source.weights["hidden/kernel"]] == [[1, 1, 1], [2, 2, 2]]


def test_weights_are_those_that_would_be_exported(tmp_path: Path) -> None:
    """Averages in place of the trained weights; the mean of statistics that replicas kept for themselves."""
    ones = np.ones(3, np.float32)
    arrays = {
        "model/0/norm/gamma": 5 * ones,
        "model/1/norm/beta": 6 * ones,
        "model/2/norm/moving_mean": 1 * ones,
        "model/2/norm/moving_mean@1": 4 * ones,
        "group/all/average/0": 7 * ones,
        "group/all/optimizer/3 momentum": 8 * ones,
    }
    averaged = {
        "model/0/norm/gamma": {"group/all/average/0": 1.0},
        "model/1/norm/beta": {"model/1/norm/beta": 2.0, "group/all/optimizer/3 momentum": -1.0},
    }
    source = initial_weights.read_source(saved(tmp_path, arrays, averaged=averaged))
    assert {path: (array[0][0], array[0].dtype.name) for path, array in source.weights.items()} == {
        "norm/gamma": (7, "float32"),
        "norm/beta": (4, "float32"),
        "norm/moving_mean": (2.5, "float32"),
    }


def test_every_replica_gets_them(tmp_path: Path) -> None:
    source = a_model()
    distribution = strategy.make_strategy(strategy.CPU, 2)
    with distribution.scope():
        model = a_model()
    source.get_layer("hidden").kernel.assign(np.full((4, 3), 9.0))
    load(model, saved_model(tmp_path, source))
    copies = distribution.experimental_local_results(model.get_layer("hidden").kernel.value)
    assert [copy.numpy().tolist() for copy in copies] == [np.full((4, 3), 9.0).tolist()] * 2


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: path.write_bytes(b"x" * 1000), "no checkpoint"),
    ],
)
def test_a_file_that_is_not_whole_is_told(tmp_path: Path, spoil, told: str) -> None:
    checkpoint = saved_model(tmp_path, a_model())
    spoil(Path(checkpoint.path))
    with pytest.raises(DataUnavailable, match=f"70.ckpt of {JOB} .*{told}") as refusal:
        initial_weights.read_source(checkpoint)
    assert [fault.field for fault in refusal.value.faults] == ["spec.model.initial_weights.job"]


def test_a_file_that_is_not_the_one_on_record_is_told(tmp_path: Path) -> None:
    checkpoint = saved_model(tmp_path, a_model())
    saved_model(tmp_path, a_model(units=6))
    with pytest.raises(DataUnavailable, match="not the file that was put on record"):
        initial_weights.read_source(checkpoint)
