"""Models that a spec names as a whole: how they are built, what they compute, and what is kept of them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from gradloom import components, documents
from gradloom.errors import InvalidRequestError
from gradloom.spec import assign_groups, with_defaults
from gradloom.trainer import models
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(3)
ROWS = CHANCE.normal(2.0, 3.0, (16, 6)).astype("float32")


def builder(type: str, config: dict[str, Any]) -> spec_pb2.JobSpec:
    document = {"spec": {"model": {"name": "whole", "builder": {"type": f"gradloom>{type}", "config": config}}}}
    return with_defaults(documents.job_from_dict(document).spec, seed=1)


def built(type: str, shape: tuple[int, ...] = (6,), **config: Any) -> keras.Model:
    return models.build_model(builder(type, config), (), lambda: shape)


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    """New weights for every path, set into the model; the sums of `Standardize` are those of ROWS."""
    rows = ROWS.reshape(-1, *model.inputs[0].shape[1:])
    model(rows, training=True)
    for variable in model.trainable_variables:
        variable.assign(CHANCE.normal(0.1, 0.3, variable.shape))
    return {path: variable.numpy().astype("float64") for path, variable in models.variable_paths(model)}


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def standardized(values: np.ndarray, weight: dict[str, np.ndarray]) -> np.ndarray:
    """What `Standardize` makes of the rows, after the sums that it holds."""
    count = weight["features/count"]
    mean, squares = weight["features/total"] / count, weight["features/squares"] / count
    return (values - mean) / np.sqrt(np.maximum(squares - mean**2, 0) + 1e-7)


def paths(model: keras.Model) -> list[str]:
    return [path for path, _ in models.variable_paths(model)]


def layer(values: np.ndarray, weight: dict[str, np.ndarray], name: str) -> np.ndarray:
    return values @ weight[f"{name}/kernel"] + weight.get(f"{name}/bias", 0)


def elu(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def test_paths_lie_below_the_builders_model() -> None:
    model = built("SparseMLP", hidden_units=[5], standardize=False)
    assert paths(model) == ["hidden_0/kernel", "hidden_0/bias", "prediction/kernel", "prediction/bias"]
    assert (model.name, model.inputs[0].shape) == ("whole", (None, 6))


@pytest.mark.parametrize("type", ["SparseMLP", "ResidualRegressor", "ReconstructingRegressor", "WideAndDeep"])
def test_the_keras_file_of_a_builder_holds_its_own_model(type: str, tmp_path: Path) -> None:
    model = built(type, shape=(2, 3), units=3)
    weights(model)
    rows = ROWS.reshape(-1, 2, 3)
    models.exported_model(model).save(tmp_path / "whole.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    assert (loaded.__class__.__name__, loaded.name) == (type, "whole")
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_a_builder_that_cannot_take_the_data_is_a_fault_of_the_builder() -> None:
    for config in ({"hidden_units": [0]}, {"deep_columns": [6]}, {"wide_columns": []}):
        with pytest.raises(InvalidRequestError) as caught:
            built("WideAndDeep", **config)
        assert [fault.field for fault in caught.value.faults] == ["spec.model.builder"]


def test_a_sparse_mlp_is_its_layers_in_turn_and_adds_the_size_of_what_they_give() -> None:
    model = built("SparseMLP", units=2, hidden_units=[5, 4], sparsity=0.25)
    w = weights(model)
    values, penalty = standardized(ROWS, w), 0.0
    for name in ("hidden_0", "hidden_1"):
        values = relu(layer(values, w, name))
        penalty += 0.25 * np.abs(values).sum() / len(values)
    np.testing.assert_allclose(model(ROWS), layer(values, w, "prediction"), rtol=1e-4, atol=1e-5)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(penalty, rel=1e-4)


def test_a_residual_regressor_passes_its_first_block_several_times() -> None:
    model = built("ResidualRegressor", units=2, hidden_units=4, depth=2, repeats=3)
    w = weights(model)
    values = elu(layer(standardized(ROWS, w), w, "first"))
    for block in ("repeated", "repeated", "repeated", "once"):
        values = values + elu(layer(elu(layer(values, w, f"{block}/hidden_0")), w, f"{block}/hidden_1"))
    np.testing.assert_allclose(model(ROWS), layer(values, w, "prediction"), rtol=1e-4, atol=1e-5)
    assert len(model.trainable_variables) == 2 * (1 + 2 + 2 + 1)


def test_a_reconstructing_regressor_adds_the_error_of_its_reconstruction_and_measures_it() -> None:
    model = built("ReconstructingRegressor", hidden_units=[5, 4], activation="tanh", reconstruction_weight=0.1)
    w = weights(model)
    features = standardized(ROWS, w)
    values = features
    for name in ("hidden_0", "hidden_1"):
        values = np.tanh(layer(values, w, name))
    error = np.square(layer(values, w, "reconstruction") - features).mean()
    np.testing.assert_allclose(model(ROWS), layer(values, w, "prediction"), rtol=1e-4, atol=1e-5)
    assert float(model.losses[0]) == pytest.approx(0.1 * error, rel=1e-4)
    metric = models.exported_model(model).reconstruction_error
    metric.reset_state()
    for begin, end in ((0, 3), (3, 16)):
        model(ROWS[begin:end])
    assert float(metric.result()) == pytest.approx(error, rel=1e-4)


def test_wide_and_deep_adds_a_linear_model_of_some_columns_to_a_network_of_others() -> None:
    model = built("WideAndDeep", wide_columns=[5, 0], deep_columns=[1, 2, 3], hidden_units=[4], units=2)
    w = weights(model)
    features = standardized(ROWS, w)
    deep = layer(relu(layer(features[:, 1:4], w, "deep_0")), w, "deep_prediction")
    np.testing.assert_allclose(model(ROWS), layer(features[:, [5, 0]], w, "wide") + deep, rtol=1e-4, atol=1e-5)
    trained = [path for path, variable in models.variable_paths(model) if variable.trainable]
    groups = [
        spec_pb2.VariableGroup(name=name, match=[match]) for name, match in (("w", "wide/**"), ("d", "deep_*/**"))
    ]
    assert assign_groups(trained, groups) == {path: path[0] for path in trained}


@pytest.mark.parametrize("type", ["SparseMLP", "ResidualRegressor", "ReconstructingRegressor", "WideAndDeep"])
@pytest.mark.parametrize("policy", ["float64", "mixed_float16"])
def test_a_builder_computes_in_the_precision_of_the_job(type: str, policy: str) -> None:
    found = getattr(components, type)(dtype=policy)
    outputs = found(ROWS, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == keras.DTypePolicy(policy).compute_dtype
    assert {variable.dtype for variable in found.trainable_variables} == {keras.DTypePolicy(policy).variable_dtype}
