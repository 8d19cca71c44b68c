"""How a job on GPUs gives them back before its export: it becomes `python -m gradloom.trainer export`, by exec.

Only the end of a program frees all of its GPU memory. The process id stays, so that the supervisor sees one trainer;
the weights and the proof's examples travel in a file, the rest in the line that the new program reads from its stdin.
"""

import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gradloom.attempt.v1 import attempt_pb2
from gradloom.trainer import session, standby
from gradloom.trainer.proof import PROJECT_PACKAGES, Prover
from gradloom.trainer.session import Session

if TYPE_CHECKING:
    import keras
    import numpy as np

STATE_FILE: Final = "trained.npz"

logger = logging.getLogger(__name__)


def hand_over(attempt: Session, model: "keras.Model", inputs: "np.ndarray", blocked: list[str]) -> NoReturn:
    """Replaces this program by the one that exports, on the CPU; `blocked` are the packages the proof does without."""
    with attempt.watchdog.stage("keeping what was trained for the export"):
        save_state(attempt.work / STATE_FILE, model, inputs)
    attempt.reporter.flush()
    attempt.reporter.close()
    attempt.control.close()
    instruction = dataclasses.replace(attempt.instruction, handover={**attempt.reporter.handover(), "blocked": blocked})
    line = os.memfd_create("instruction")
    os.write(line, instruction.to_line())
    os.lseek(line, 0, os.SEEK_SET)
    os.dup2(line, 0)
    sys.stdout.flush()
    sys.stderr.flush()
    # An open descriptor of a GPU would keep its memory.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and Path("/proc/self/fd", name).exists():
            os.set_inheritable(int(name), False)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "gradloom.trainer", "export"], environment)


def main() -> int:
    """Exports what the trainer before left; returns the exit code."""
    instruction = standby.read_instruction()
    if instruction is None:
        return session.COMPLETED
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    return session.serve(instruction, _deliver)


def _deliver(attempt: Session) -> attempt_pb2.FinishAttemptRequest:
    attempt.reporter.release_devices()
    with Prover(attempt.instruction.handover.get("blocked", PROJECT_PACKAGES)) as clean:
        from gradloom.trainer import delivery, models, strategy, user_code
        from gradloom.trainer.own_state import OwnMetrics
        from gradloom.v1 import spec_pb2

        resolved = attempt.assignment.resolved_spec
        spec = resolved.spec
        with attempt.watchdog.stage("building the trained model again"):
            strategy.configure(spec_pb2.ResolvedSpec.CPU, replicas=1)
            user_code.bring_in(spec)
            trained_on = {data.source: data for data in resolved.data}
            model = models.build_model(spec, attempt.assignment.data_roots, lambda: trained_on["train"].feature_shape)
            OwnMetrics(model)  # of which an export takes no part
            inputs = load_state(attempt.work / STATE_FILE, model)
        return delivery.deliver(attempt, spec, model, inputs, lambda: clean)


def save_state(path: Path, model: "keras.Model", inputs: "np.ndarray") -> None:
    """Keeps every variable of the model, in its order, and the examples of the proof."""
    import keras
    import numpy as np

    values: dict[str, Any] = {
        f"variable_{index}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(model.variables)
    }
    np.savez(path, inputs=inputs, **values)


def load_state(path: Path, model: "keras.Model") -> "np.ndarray":
    """Gives a model of the same spec the kept values and returns the examples of the proof."""
    import numpy as np

    with np.load(path, allow_pickle=False) as state:
        if len(state.files) != 1 + len(model.variables):
            raise ValueError(f"{path} holds {len(state.files) - 1} variables, the model has {len(model.variables)}")
        for index, variable in enumerate(model.variables):
            variable.assign(state[f"variable_{index}"])
        inputs: np.ndarray = state["inputs"]
    return inputs
