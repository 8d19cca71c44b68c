"""Runs trials in a process of their own and says how far their replicas are apart."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradloom.catalogue import Catalogue

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Difference:
    """The largest difference of any run of a trial from the one on one replica, and how large it may be."""

    trial: str
    largest: float
    where: str
    allowed: float

    @property
    def exact(self) -> bool:
        """Whether the number of replicas does not matter. What is not a number is not exact."""
        return self.largest <= self.allowed


def optimizer_names() -> list[str]:
    """Every optimizer of the catalogue."""
    return sorted(Catalogue.load().names("optimizer"))


def differences(trials: Sequence[str], precision: str) -> list[Difference]:
    """What `trials.py` finds, by trial."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "found.npz"
        # Logical devices and the default type are set before the first operation: a process of its own.
        command = [sys.executable, "-m", "tests.exactness.trials", out, precision, *trials]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the trials ended with exit code {done.returncode}: {done.stderr}")
        with np.load(out) as archive:
            found = {key: archive[key] for key in archive.files}
    return [_difference(trial.partition(":")[0], precision, found) for trial in trials]


def _difference(trial: str, precision: str, found: dict[str, np.ndarray]) -> Difference:
    apart: dict[str, float] = {}
    for key, value in found.items():
        of, _, what = key.split("|")
        if of == trial:
            apart[key] = float(np.nan_to_num(np.abs(value - found[f"{trial}|1|{what}"]).max(), nan=np.inf))
    rounding = max((one for key, one in apart.items() if "|reversed|" in key), default=0.0)
    allowed = 1e-9 if precision == "FLOAT64" else max(5e-5, 4 * rounding)
    where = max((key for key in apart if "|reversed|" not in key), key=lambda key: apart[key])
    return Difference(trial, apart[where], where, allowed)
