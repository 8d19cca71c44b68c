"""The clean process of the proof: loads a SavedModel as a server would and compares it with the reference outputs.

A program of its own, run by its path, that imports nothing of the project: `prover.py BLOCKED...`, where each word is a
top-level package that must not be importable here. It says `ready` on its stdout once its imports are done, reads one
line of JSON from stdin
    {"saved_model": directory, "examples": .npz with `inputs` and `outputs` or, of several outputs, `outputs/<name>`,
    "absolute_tolerance": ..., "relative_tolerance": ...}
and answers with one line of JSON
    {"examples": n, "agrees": bool, "largest_difference": ...}   or   {"error": "..."}
The end of stdin ends it, so that it never outlives its trainer.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportBlocker:
    """Finds the blocked packages before anybody else does, and then refuses to load them.

    They are found, not hidden: TensorFlow asks where keras lies without importing it.
    """

    def __init__(self, packages: Iterable[str]):
        self._packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Claims the blocked packages and all that lies in them."""
        return ModuleSpec(name, self) if name.partition(".")[0] in self._packages else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Refuses."""
        raise ImportError(f"{spec.name} must not be needed to serve an export", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Never reached; the import system wants it."""


def main(packages: Sequence[str]) -> int:
    """Blocks the packages, makes sure of it, and compares one export."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.meta_path.insert(0, ImportBlocker(packages))
    require_blocked(packages)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # What goes wrong here is raised; the rest would only fill the log of the attempt.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryFile() as noise:
        errors = os.dup(2)
        os.dup2(noise.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(errors, 2)
            os.close(errors)

    print("ready", file=answers)
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    try:
        answer = compare(**json.loads(line))
        require_blocked(packages)
    except Exception as error:  # Whatever it is, the trainer is to hear of it.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers)
    return 0


def require_blocked(packages: Sequence[str]) -> None:
    """Raises RuntimeError when one of the packages is loaded or can be."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            if any(name.partition(".")[0] == package for name in sys.modules):
                raise RuntimeError(f"{package} is loaded in the process that must not need it") from None
        else:
            raise RuntimeError(f"{package} can be imported in the process that must not need it")


def compare(saved_model: str, examples: str, absolute_tolerance: float, relative_tolerance: float) -> dict[str, Any]:
    """Runs the examples through the serving signature on the CPU and measures the differences from the reference."""
    import numpy as np
    import tensorflow as tf

    with np.load(examples, allow_pickle=False) as arrays:
        inputs = arrays["inputs"]
        expected = {name.removeprefix("outputs/"): arrays[name] for name in arrays.files if name != "inputs"}
    loaded = tf.saved_model.load(saved_model)
    signature = loaded.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    with tf.device("/CPU:0"):
        outputs = signature(**{name: tf.constant(inputs)})
    if len(outputs) == len(expected) == 1:
        outputs = dict(zip(expected, outputs.values(), strict=True))
    if outputs.keys() != expected.keys():
        return {"error": f"the export gives the outputs {sorted(outputs)}, the trained model {sorted(expected)}"}
    agrees, largest = True, 0.0
    for output, reference in expected.items():
        actual = outputs[output].numpy()
        if actual.shape != reference.shape:
            sides = f"shape {list(actual.shape)}, the trained model of {list(reference.shape)}"
            return {"error": f"the export gives {output} of {sides}"}
        wanted = reference.astype(np.float64)
        difference = np.abs(actual.astype(np.float64) - wanted)
        agrees &= bool((difference <= absolute_tolerance + relative_tolerance * np.abs(wanted)).all())
        # JSON has no NaN; a difference that is none is as large as can be.
        largest = max(largest, float(np.nan_to_num(difference, nan=np.finfo(np.float64).max).max(initial=0.0)))
    return {"examples": len(inputs), "agrees": agrees, "largest_difference": largest}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
