"""What changes gradients, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from gradloom.components import CentralizeGradient, NormalizeGradient

CHANCE = np.random.default_rng(11)
SHAPES = [(3, 3, 2, 5), (7, 4), (4,), ()]


def gradients(dtype: str = "float64", scale: float = 1.0) -> list[tf.Tensor]:
    return [tf.constant(CHANCE.normal(1.0, 2.0, shape) * scale, dtype) for shape in SHAPES]


def test_centralized_gradients_of_kernels_have_mean_0_for_every_output_channel() -> None:
    given = gradients()
    kernels, vectors = CentralizeGradient()(given, ())[:2], CentralizeGradient()(given, ())[2:]
    for kernel, before in zip(kernels, given, strict=False):
        flat = before.numpy().reshape(-1, before.shape[-1])
        np.testing.assert_allclose(kernel, (flat - flat.mean(axis=0)).reshape(before.shape), atol=1e-14)
    for vector, before in zip(vectors, given[2:], strict=True):
        np.testing.assert_array_equal(vector, before)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float64", 1.0), ("float32", 1e30), ("float32", 1e-30), ("float16", 1e3)]
)
def test_normalized_gradients_keep_their_direction_and_have_the_norm(dtype: str, scale: float) -> None:
    given = gradients(dtype, scale)
    whole = np.concatenate([np.ravel(gradient.numpy().astype("float64")) for gradient in given])
    found = NormalizeGradient(norm=3.0)(given, ())
    assert {gradient.dtype.name for gradient in found} == {dtype}
    flat = np.concatenate([np.ravel(gradient.numpy()) for gradient in found])
    exact = {"float64": 1e-14, "float32": 1e-6, "float16": 5e-3}[dtype]
    np.testing.assert_allclose(flat, 3.0 * whole / np.linalg.norm(whole), rtol=exact, atol=exact)


def test_gradients_of_0_stay_0_when_they_are_normalized() -> None:
    assert [float(tf.reduce_sum(tf.abs(g))) for g in NormalizeGradient()([tf.zeros((2, 3)), tf.zeros(4)], ())] == [0, 0]


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_norm_that_is_not_above_0_is_refused(norm: float) -> None:
    with pytest.raises(ValueError, match="norm must be above 0"):
        NormalizeGradient(norm)
