"""The types that a job's precision gives to weights, computations and losses."""

import keras
import numpy as np
import pytest

from gradloom.errors import InvalidRequestError
from gradloom.trainer import models, strategy
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.precision import set_precision
from gradloom.trainer.targets import Target
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
    assert models.build_targets(spec)[0].loss.dtype == losses
    assert models.build_optimizer(group, "spec.variable_groups[0]").learning_rate.dtype == losses


def built_from_json(model, precision):
    spec = spec_pb2.JobSpec(training=TrainingSpec(precision=precision))
    spec.model.keras_config = model.to_json()
    return models.build_model(spec)


def small_model(last_dtype=None):
    inputs = keras.Input([3])
    hidden = keras.layers.Dense(2, name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, name="last", dtype=last_dtype)(hidden))


@pytest.mark.usefixtures("_types_put_back")
@pytest.mark.parametrize(
    ("precision", "policy"), [(TrainingSpec.FLOAT64, "float64"), (TrainingSpec.MIXED_BFLOAT16, "mixed_bfloat16")]
)
def test_a_model_of_keras_that_nobody_gave_a_type_has_the_job_s_precision(precision, policy):
    built = built_from_json(small_model(), precision)
    assert {layer.dtype_policy.name for layer in built.layers[1:]} == {policy}
    assert built.inputs[0].dtype == ("float64" if policy == "float64" else "float32")


@pytest.mark.usefixtures("_types_put_back")
def test_a_layer_that_was_kept_in_float32_among_mixed_ones_stays_so():
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = small_model("float32")
    built = built_from_json(mixed, TrainingSpec.MIXED_BFLOAT16)
    assert [layer.dtype_policy.name for layer in built.layers[1:]] == ["mixed_bfloat16", "float32"]
    with pytest.raises(InvalidRequestError, match="MIXED_BFLOAT16 sets it for all layers"):
        built_from_json(mixed, TrainingSpec.FLOAT32)


@pytest.mark.usefixtures("_types_put_back")
def test_internal_losses_are_told_apart_although_layers_compute_in_half_precision():
    options = TrainingSpec(
        global_batch_size=4, seed=1, precision=TrainingSpec.MIXED_FLOAT16, gradient_accumulation_steps=2
    )
    set_precision(options)
    distribution = strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        # A mean over the examples; the parts of a batch differ from it by the rounding of float16.
        hidden = keras.layers.Dense(64, activity_regularizer=keras.regularizers.L2(1.0))
        model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(1)], name="model")
        groups = [Group("all", tuple(model.trainable_variables), keras.optimizers.SGD(1e-3))]
    arrays = Arrays(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.ones((8, 1), np.float32))
    target = Target("", keras.losses.MeanSquaredError())
    training = Training(model, [target], groups, options, arrays, None, distribution)
    assert hidden.compute_dtype == "float16"
    assert training.run_epoch(1)["loss"] > 0
