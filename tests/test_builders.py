"""Models that a spec names as a whole: how they are built, what they compute, and what is kept of them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from gradloom import documents
from gradloom.errors import InvalidRequestError
from gradloom.spec import with_defaults
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
    """New weights for every path, set into the model."""
    for variable in model.variables:
        variable.assign(np.abs(CHANCE.normal(0.5, 0.3, variable.shape)))
    return {path: variable.numpy().astype("float64") for path, variable in models.variable_paths(model)}


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def normalized(values: np.ndarray, weight: dict[str, np.ndarray]) -> np.ndarray:
    mean, variance = weight["normalization/moving_mean"], weight["normalization/moving_variance"]
    return (values - mean) / np.sqrt(variance + 1e-3)


def test_paths_lie_below_the_builders_model() -> None:
    model = built("SparseMLP", hidden_units=[5], normalize=False)
    assert [path for path, _ in models.variable_paths(model)] == [
        *("hidden_0/kernel", "hidden_0/bias", "outputs/kernel", "outputs/bias")
    ]
    assert (model.name, model.inputs[0].shape) == ("whole", (None, 6))


def test_the_keras_file_of_a_builder_holds_its_own_model(tmp_path: Path) -> None:
    model = built("SparseMLP", shape=(2, 3), units=3, hidden_units=[5, 4])
    weights(model)
    rows = ROWS.reshape(-1, 2, 3)
    models.exported_model(model).save(tmp_path / "whole.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    assert (type(loaded).__name__, loaded.name) == ("SparseMLP", "whole")
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_a_builder_that_cannot_take_the_data_is_a_fault_of_the_builder() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        built("SparseMLP", hidden_units=[0])
    assert [fault.field for fault in caught.value.faults] == ["spec.model.builder"]


def test_a_sparse_mlp_is_its_layers_in_turn_and_adds_the_size_of_what_they_give() -> None:
    model = built("SparseMLP", units=2, hidden_units=[5, 4], sparsity=0.25)
    w = weights(model)
    values, penalty = normalized(ROWS, w), 0.0
    for layer in ("hidden_0", "hidden_1"):
        values = relu(values @ w[f"{layer}/kernel"] + w[f"{layer}/bias"])
        penalty += 0.25 * np.abs(values).sum() / len(values)
    np.testing.assert_allclose(model(ROWS), values @ w["outputs/kernel"] + w["outputs/bias"], rtol=1e-5)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(penalty, rel=1e-5)
