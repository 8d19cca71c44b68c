"""What the trained model itself gives, on the CPU, and how a `.keras` file that is loaded back compares with it."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import user_code
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.proof import (
    EXACT,
    PROJECT_PACKAGES,
    ExportDisagreedError,
    Proof,
    Tolerances,
    disagreement,
)


def reference_outputs(model: keras.Model, inputs: np.ndarray) -> list[np.ndarray]:
    """What the trained model gives for the inputs [n, ...], on the CPU, by output in the model's order.

    Raises ExportDisagreedError when that is not finite.
    """
    # In a graph, as it was trained and is served: TensorFlow fuses operations there, which rounds otherwise in 16 bits.
    infer = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    with tf.device("/CPU:0"):
        outputs = [_as_array(output) for output in keras.tree.flatten(infer(tf.constant(inputs)))]
    finite = [np.isfinite(output).reshape(len(output), -1).all(axis=1) for output in outputs]
    not_finite = int((~np.logical_and.reduce(finite)).sum())
    if not_finite:
        raise ExportDisagreedError(
            f"the trained model's outputs are not finite for {not_finite} of {len(inputs)} examples: "
            "no export can be proven by them"
        )
    return outputs


def _as_array(output: tf.Tensor) -> np.ndarray:
    """As NumPy; in float32 when NumPy has no such type (bfloat16) that a file could hold."""
    kind = tf.as_dtype(output.dtype)
    array: np.ndarray = keras.ops.convert_to_numpy(tf.cast(output, tf.float32) if kind == tf.bfloat16 else output)
    return array


def prove_keras_file(
    path: Path, inputs: np.ndarray, expected: Sequence[np.ndarray], tolerances: Tolerances = EXACT
) -> Proof:
    """Loads a `.keras` file back and compares it with the reference; raises ExportDisagreedError."""
    loaded = _loaded_back(path)
    actual = reference_outputs(loaded, inputs)
    shapes = [[output.shape for output in outputs] for outputs in (actual, expected)]
    if shapes[0] != shapes[1]:
        told = [", ".join(map(str, one)) for one in shapes]
        raise ExportDisagreedError(f"{path.name} gives outputs of shape {told[0]}, the trained model {told[1]}")
    pairs = [
        (given.astype(np.float64), wanted.astype(np.float64)) for given, wanted in zip(actual, expected, strict=True)
    ]
    largest = max(float(np.abs(given - wanted).max(initial=0.0)) for given, wanted in pairs)
    if not all(np.allclose(*pair, atol=tolerances.absolute, rtol=tolerances.relative) for pair in pairs):
        raise ExportDisagreedError(disagreement(path.name, largest, tolerances))
    return Proof(len(inputs), largest)


def _loaded_back(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path)
    except (OSError, MemoryError, tf.errors.ResourceExhaustedError):
        # The machine's fault, not the file's.
        raise
    except Exception as error:
        told = user_code.described(error) or on_one_line(error)
        raise ExportDisagreedError(f"{path.name} cannot be loaded back: {told}") from error


def packages_of_components() -> list[str]:
    """The top-level packages that a proof must do without: this project, Keras, and those of all components."""
    return sorted({*PROJECT_PACKAGES, *user_code.foreign_modules()})
