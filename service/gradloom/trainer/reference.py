"""What the trained model itself gives, on the CPU, and how a `.keras` file that is loaded back compares with it."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import user_code
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.proof import (
    ABSOLUTE_TOLERANCE,
    PROJECT_PACKAGES,
    RELATIVE_TOLERANCE,
    ExportDisagreedError,
    Proof,
    disagreement,
)


def reference_outputs(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """What the trained model gives for the inputs [n, ...], on the CPU.

    Raises ExportDisagreedError when that is not finite.
    """
    with tf.device("/CPU:0"):
        outputs = keras.ops.convert_to_numpy(model(tf.constant(inputs), training=False))
    not_finite = int((~np.isfinite(outputs)).reshape(len(outputs), -1).any(axis=1).sum())
    if not_finite:
        raise ExportDisagreedError(
            f"the trained model's outputs are not finite for {not_finite} of {len(outputs)} examples: "
            "no export can be proven by them"
        )
    return outputs


def prove_keras_file(path: Path, inputs: np.ndarray, expected: np.ndarray) -> Proof:
    """Loads a `.keras` file back and compares it with the reference; raises ExportDisagreedError."""
    loaded = _loaded_back(path)
    actual = reference_outputs(loaded, inputs)
    if actual.shape != expected.shape:
        raise ExportDisagreedError(
            f"{path.name} gives outputs of shape {actual.shape}, the trained model {expected.shape}"
        )
    largest = float(np.abs(actual.astype(np.float64) - expected).max(initial=0.0))
    if not np.allclose(actual, expected, atol=ABSOLUTE_TOLERANCE, rtol=RELATIVE_TOLERANCE):
        raise ExportDisagreedError(disagreement(path.name, largest))
    return Proof(len(expected), largest)


def _loaded_back(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, MemoryError, tf.errors.ResourceExhaustedError):
        # The machine's fault, not the file's.
        raise
    except Exception as error:
        told = user_code.described(error) or on_one_line(error)
        raise ExportDisagreedError(f"{path.name} cannot be loaded back: {told}") from error


def packages_of_components() -> list[str]:
    """The top-level packages that a proof must do without: this project, Keras, and those of all components."""
    return sorted({*PROJECT_PACKAGES, *user_code.foreign_modules()})
