"""The proof that an export gives what the trained model gives, as the trainer sees it; `prover` is the other side.

Reference and proof both run on the CPU: the reference in the trainer, with the model as it was trained (`reference`);
the proof in a process that can import neither this project nor Keras nor the user's classes. Imports neither TensorFlow
nor Keras itself, so that the clean process can be started before they are.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gradloom.trainer import prover

PROOF_EXAMPLES: Final = 64
PROJECT_PACKAGES: Final = ("gradloom", "keras")


class ExportDisagreedError(Exception):
    """The export does not give the trained model's results, or cannot be loaded without its code."""


@dataclass(frozen=True)
class Tolerances:
    """How far an output may be from the reference: at most `absolute + relative * |reference|`."""

    absolute: float
    relative: float


EXACT: Final = Tolerances(1e-5, 1e-5)
"""Of weights and computations in float32 or float64."""
MIXED: Final = Tolerances(1e-2, 1e-2)
"""Of computations in 16 bits, which have two to three digits."""


@dataclass(frozen=True)
class Proof:
    """What the comparison found; differences are absolute."""

    examples: int
    largest_difference: float


class Prover:
    """The clean process. Started early, its imports overlap with the end of the training; it dies with this process."""

    def __init__(self, blocked: Sequence[str] = PROJECT_PACKAGES):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        # -P: neither its own directory nor the working directory is searched for modules.
        self._process = subprocess.Popen(
            [sys.executable, "-P", prover.__file__, *blocked],
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

    def prove(self, saved_model: Path, examples: Path, tolerances: Tolerances = EXACT) -> Proof:
        """Compares one SavedModel with the examples' reference outputs, once; raises ExportDisagreedError."""
        request = {
            "saved_model": str(saved_model),
            "examples": str(examples),
            "absolute_tolerance": tolerances.absolute,
            "relative_tolerance": tolerances.relative,
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
            raise ExportDisagreedError(disagreement("the SavedModel", answer["largest_difference"], tolerances))
        return Proof(answer["examples"], answer["largest_difference"])


def disagreement(what: str, largest: float, tolerances: Tolerances) -> str:
    """The sentence for an export that is out of the tolerances."""
    return (
        f"{what} differs from the trained model by up to {largest:.3g}; "
        f"the tolerances are {tolerances.absolute:g} absolute and {tolerances.relative:g} relative"
    )
