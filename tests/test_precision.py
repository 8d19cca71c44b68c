"""The types that a job's precision gives to weights, computations and losses."""

import keras
import pytest

from gradloom.trainer import models
from gradloom.v1 import spec_pb2

TrainingSpec = spec_pb2.TrainingSpec


@pytest.fixture
def _types_put_back():
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("_types_put_back")
@pytest.mark.parametrize(
    ("precision", "weights", "computations", "losses"),
    [
        (TrainingSpec.PRECISION_UNSPECIFIED, "float32", "float32", "float32"),
        (TrainingSpec.FLOAT64, "float64", "float64", "float64"),
        (TrainingSpec.MIXED_BFLOAT16, "float32", "bfloat16", "float32"),
        (TrainingSpec.MIXED_FLOAT16, "float32", "float16", "float32"),
        (TrainingSpec.FLOAT32, "float32", "float32", "float32"),
    ],
)
def test_a_precision_decides_the_types_of_all_that_is_built(precision, weights, computations, losses):
    spec = spec_pb2.JobSpec(training=TrainingSpec(precision=precision))
    for kind, config in (("Input", {"shape": [3]}), ("Dense", {"units": 2})):
        spec.model.layers.add(type=kind).config.update(config)
    spec.loss.type = "MeanSquaredError"
    group = spec.variable_groups.add(name="all", match=["**"])
    group.optimizer.type = "Adam"
    model = models.build_model(spec)
    assert {variable.dtype for variable in model.variables} == {weights}
    assert model.outputs[0].dtype == computations
    assert models.build_loss(spec).dtype == losses
    assert models.build_optimizer(group, "spec.variable_groups[0]").learning_rate.dtype == losses
