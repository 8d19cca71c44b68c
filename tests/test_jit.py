"""Compiling forward and backward pass: what it changes, when it is refused, and how AUTO decides."""

import time

import numpy as np
import pytest

from gradloom.errors import InvalidRequestError
from gradloom.trainer import jit
from gradloom.trainer.step import NotFiniteError
from gradloom.v1 import spec_pb2
from tests.test_groups import sgd, train

TrainingSpec = spec_pb2.TrainingSpec
GROUPS = [(sgd(0.1), {"clip_norm": 0.5}), (sgd(0.1), {"ema_momentum": 0.9})]


def weights_and_losses(trained):
    kernel, bias, scalars, _ = trained
    return [*kernel.flat, *bias, *(one["loss"] for one in scalars)]


def test_compiled_passes_train_the_same_weights_up_to_rounding():
    compiled = train(GROUPS, epochs=2, jit_compile=TrainingSpec.ENABLED)
    assert compiled[3].jit_compiled
    plain = train(GROUPS, epochs=2, jit_compile=TrainingSpec.DISABLED)
    assert not plain[3].jit_compiled
    np.testing.assert_allclose(weights_and_losses(compiled), weights_and_losses(plain), rtol=1e-5)


def test_a_measurement_leaves_no_trace_in_the_training():
    auto = train(GROUPS, epochs=0, jit_compile=TrainingSpec.AUTO)[3]
    auto.settle_jit(None)
    decided = TrainingSpec.ENABLED if auto.jit_compiled else TrainingSpec.DISABLED
    given = train(GROUPS, epochs=0, jit_compile=decided)[3]
    for epoch in (1, 2):
        assert auto.run_epoch(epoch) == given.run_epoch(epoch)
    # Keras numbers the layers and optimizers of a process.
    for (key, found), expected in zip(auto.state().arrays.items(), given.state().arrays.values(), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=key)


@pytest.mark.parametrize("decided", [True, False])
def test_a_later_attempt_does_as_the_first_one_decided(decided):
    training = train(GROUPS, epochs=0, jit_compile=TrainingSpec.AUTO)[3]
    training.settle_jit(decided)
    assert training.jit_compiled is decided


def test_the_way_that_is_clearly_faster_is_chosen():
    def trainer(**seconds):
        def run(step, steps):
            time.sleep(steps * seconds[step])
            return steps

        return run

    assert jit.is_faster(trainer(plain=0.002, compiled=0.001), "plain", "compiled")
    assert not jit.is_faster(trainer(plain=0.001, compiled=0.001), "plain", "compiled")


def test_what_cannot_be_tried_is_not_compiled():
    def break_down(step, steps):
        raise NotFiniteError(1, "the loss")

    assert not jit.is_faster(break_down, "plain", "compiled")


def test_compiling_is_refused_where_layers_reduce_over_replicas():
    with pytest.raises(InvalidRequestError) as refusal:
        jit.is_asked_for(TrainingSpec.ENABLED, ["model/norm"])
    (fault,) = refusal.value.faults
    assert fault.field == "spec.training.jit_compile"
    assert "model/norm" in fault.description
    assert not jit.is_asked_for(TrainingSpec.AUTO, ["model/norm"])
