"""A job's task: the part of its spec that says what is learned from which data, whoever trains it how.

Most jobs of a server share their task with others and differ in how they train, so a server checks each task once.
"""

from typing import Final

from gradloom.spec.components import ComponentChecker
from gradloom.spec.data import check_data
from gradloom.spec.model import check_model
from gradloom.spec.scalars import Monitors
from gradloom.spec.targets import check_targets
from gradloom.v1 import spec_pb2

MOST_TASKS: Final = 500
MOST_TASK_BYTES: Final = 2048

_OTHER_FIELDS: Final = tuple(
    field.name
    for field in spec_pb2.JobSpec.DESCRIPTOR.fields
    if field.name not in ("model", "data", "loss", "metrics", "outputs")
)


class SoundTasks:
    """Small tasks in which checkers of one catalogue found no fault, with what may be monitored of each."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool, bytes], Monitors] = {}

    def check(self, spec: spec_pb2.JobSpec, checker: ComponentChecker) -> Monitors:
        """Checks the task of a spec; gives what may be monitored."""
        # A copy, so that nothing else in the spec can have a say.
        task = spec_pb2.JobSpec()
        task.CopyFrom(spec)
        for name in _OTHER_FIELDS:
            task.ClearField(name)
        written = task.SerializeToString(deterministic=True)
        key = checker.policy, checker.has_user_code, written
        if (known := self._known.get(key)) is not None:
            return known
        noted = len(checker.faults)
        _check(task, checker)
        monitors = Monitors.of(task)
        # What is found at a path may change; all paths of a sound spec are absolute.
        if len(checker.faults) == noted and len(written) <= MOST_TASK_BYTES and b"/" not in written:
            if len(self._known) >= MOST_TASKS:
                self._known.clear()
            self._known[key] = monitors
        return monitors


def _check(task: spec_pb2.JobSpec, checker: ComponentChecker) -> None:
    if task.HasField("model"):
        check_model(task.model, checker)
    else:
        checker.faults.add("spec.model", "is required")
    if task.HasField("data"):
        check_data(task, checker)
    else:
        checker.faults.add("spec.data", "is required")
    check_targets(task, checker)
