"""The proof that an export gives what the trained model gives, as the trainer sees it; `prover` is the other side.

Reference and proof both run on the CPU: the reference here, with the model as it was trained; the proof in a
process that can import neither this project nor Keras nor the user's classes.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import prover

PROOF_EXAMPLES: Final = 64
ABSOLUTE_TOLERANCE: Final = 1e-5
RELATIVE_TOLERANCE: Final = 1e-5
PROJECT_PACKAGES: Final = ("gradloom", "keras")

logger = logging.getLogger(__name__)


class ExportDisagreedError(Exception):
    """The export does not give the trained model's results, or cannot be loaded without its code."""


@dataclass(frozen=True)
class Proof:
    """What the comparison found; differences are absolute."""

    examples: int
    largest_difference: float


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
    loaded = keras.saving.load_model(path, compile=False)
    actual = reference_outputs(loaded, inputs)
    if actual.shape != expected.shape:
        raise ExportDisagreedError(
            f"{path.name} gives outputs of shape {actual.shape}, the trained model {expected.shape}"
        )
    largest = float(np.abs(actual.astype(np.float64) - expected).max(initial=0.0))
    if not np.allclose(actual, expected, atol=ABSOLUTE_TOLERANCE, rtol=RELATIVE_TOLERANCE):
        raise ExportDisagreedError(_disagreement(path.name, largest))
    return Proof(len(expected), largest)


class Prover:
    """The clean process. Started early, its imports overlap with the end of the training; it dies with this process."""

    def __init__(self, blocked: Sequence[str] | None = None):
        self._blocked = packages_of_components() if blocked is None else blocked
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        # -P: neither its own directory nor the working directory is searched for modules.
        self._process = subprocess.Popen(
            [sys.executable, "-P", prover.__file__, *self._blocked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()

    def prove(self, saved_model: Path, examples: Path) -> Proof:
        """Compares one SavedModel with the examples' reference outputs, once; raises ExportDisagreedError."""
        request = {
            "saved_model": str(saved_model),
            "examples": str(examples),
            "absolute_tolerance": ABSOLUTE_TOLERANCE,
            "relative_tolerance": RELATIVE_TOLERANCE,
        }
        output, _ = self._process.communicate(json.dumps(request).encode() + b"\n")
        lines = output.decode(errors="replace").splitlines()
        if len(lines) != 2 or lines[0] != "ready":
            raise RuntimeError(
                f"the process of the proof ended with exit code {self._process.returncode} and no answer"
            )
        answer: dict[str, Any] = json.loads(lines[1])
        if "error" in answer:
            raise ExportDisagreedError(f"the SavedModel cannot be served without the project's code: {answer['error']}")
        if not answer["agrees"]:
            raise ExportDisagreedError(_disagreement("the SavedModel", answer["largest_difference"]))
        return Proof(answer["examples"], answer["largest_difference"])


def packages_of_components() -> list[str]:
    """The top-level packages that a proof must do without: this project, Keras, and those of all components."""
    components = keras.saving.get_custom_objects().values()
    return sorted({*PROJECT_PACKAGES, *(component.__module__.partition(".")[0] for component in components)})


def _disagreement(what: str, largest: float) -> str:
    return (
        f"{what} differs from the trained model by up to {largest:.3g}; "
        f"the tolerances are {ABSOLUTE_TOLERANCE:g} absolute and {RELATIVE_TOLERANCE:g} relative"
    )
