"""The job that a retried one goes on from: all state of its training, under a spec that may differ a little."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import FieldFault, refusal
from gradloom.spec.retries import new_learning_rates
from gradloom.trainer import checkpoints
from gradloom.trainer.checkpoints import DamagedCheckpoint, ForeignCheckpoint, Saved
from gradloom.trainer.datasets import DataUnavailable
from gradloom.trainer.epoch_ends import Trend
from gradloom.trainer.loop import TEST_PREFIX, Training
from gradloom.trainer.resolved import EnvironmentChangedError, spec_digest, told_differences
from gradloom.trainer.saved_state import Place
from gradloom.trainer.strategy import Threads
from gradloom.v1 import spec_pb2

FIELD: Final = "retry_checkpoint"
"""Of the job."""
_UNCHANGED: Final = ("data", "replicas", "steps_per_epoch")
"""Of a resolved spec, what a training cannot go on without."""
_TOLD: Final = ("device_kind", "versions")
"""What its bits depend on and its sense does not."""


@dataclass(frozen=True)
class Left:
    """Where a training was left, as it stands under the new spec."""

    saved: Saved
    place: Place
    scalars: Mapping[str, float]
    """The newest of every scalar."""
    ends: Mapping[str, Any]
    """What `EpochEnds` restores."""
    finished: bool
    """Only export and proof are left."""


class Predecessor:
    """What a job was given to go on from.

    Attributes:
        checkpoint: Where it goes on; its path is absolute.
    """

    def __init__(self, retry: attempt_pb2.Retry):
        self.checkpoint = retry.checkpoint
        self._best = retry.best if retry.HasField("best") else None
        self._resolved = retry.resolved_spec

    def threads(self, device_kind: int) -> Threads | None:
        """Those that it trained with, which its bits depend on; None when it trained on another kind of device."""
        if device_kind != self._resolved.device_kind:
            return None
        return Threads(self._resolved.intra_op_threads, self._resolved.inter_op_threads)

    def jit_compiled(self, spec: spec_pb2.JobSpec) -> bool | None:
        """What it found best; None when the spec says otherwise now."""
        is_same = spec.training.jit_compile == self._resolved.spec.training.jit_compile
        return self._resolved.jit_compiled if is_same else None

    def require_same(self, resolved: spec_pb2.ResolvedSpec) -> list[str]:
        """Tells what trains otherwise, devices or versions; raises EnvironmentChangedError for what must not differ."""
        changed = list(told_differences(self._resolved, resolved, _UNCHANGED))
        if changed:
            raise EnvironmentChangedError(changed, f"{self.checkpoint.job}, from whose checkpoint this one goes on,")
        return list(told_differences(self._resolved, resolved, _TOLD))

    def restore(self, training: Training, spec: spec_pb2.JobSpec, left: Left) -> None:
        """Puts a training where that one was left; groups with another optimizer or schedule keep their learning rates.

        Raises:
            InvalidRequestError: The state is that of other variables; nothing was changed.
        """
        rates = new_learning_rates(self._resolved.spec, spec)
        try:
            training.restore(left.saved.arrays, left.place, left.scalars, rates)
        except ForeignCheckpoint as error:
            told = f"must fit the spec; {self.checkpoint.name} {error}"
            raise refusal(FIELD, told) from error

    def left(self, spec: spec_pb2.JobSpec) -> Left:
        """Where it goes on. Raises DataUnavailable when the file is missing or damaged."""
        return self._left(self.checkpoint, spec)

    def best(self, spec: spec_pb2.JobSpec) -> Left:
        """Its best epoch. Raises DataUnavailable when the file is missing or damaged."""
        if self._best is None:
            told = f"must come with the best one, which {self.checkpoint.job} has no more"
            raise DataUnavailable([FieldFault(FIELD, told)])
        return self._left(self._best, spec)

    def _left(self, checkpoint: attempt_pb2.Checkpoint, spec: spec_pb2.JobSpec) -> Left:
        try:
            saved = checkpoints.read(Path(checkpoint.path))
            if saved.sha256 != checkpoint.sha256:
                raise DamagedCheckpoint("is not the file that was put on record")
            saved.require_own(checkpoint.job_uid, spec_digest(self._resolved))
        except checkpoints.UnusableCheckpoint as error:
            instead = "go on from another one, or start from scratch"
            told = f"must be whole: {instead}; {checkpoint.name}, {checkpoint.path}, {error}"
            raise DataUnavailable([FieldFault(FIELD, told)]) from error
        return _as_it_stands(saved, self._resolved.spec, spec)


def _as_it_stands(saved: Saved, before: spec_pb2.JobSpec, spec: spec_pb2.JobSpec) -> Left:
    """What was saved under the spec `before`, where more may be left to train under the new one."""
    state, epochs = saved.header.state, spec.training.epochs
    place, ends = Place(**state["place"]), dict(state["ends"])
    early = (before.training.early_stopping, spec.training.early_stopping)
    if early[0] != early[1] or before.training.epochs != epochs:
        ends["stopped"] = False
    if early[0].monitor != early[1].monitor:
        ends["stopping"] = asdict(Trend())
    monitors = [_plateau_monitors(one.variable_groups) for one in (before, spec)]
    ends["plateaus"] = {
        name: trend
        for name, trend in ends["plateaus"].items()
        if name in monitors[1] and monitors[0][name] == monitors[1][name]
    }
    ended = ends["stopped"] or place.epoch > epochs
    scalars = state["scalars"]
    if not ended:
        # The test comes at the end, which is later now.
        scalars = {name: value for name, value in scalars.items() if not name.startswith(TEST_PREFIX)}
        if place.evaluation == TEST_PREFIX:
            place = Place(place.epoch)
    return Left(saved, place, scalars, ends, finished=state["finished"] and ended)


def _plateau_monitors(groups: Sequence[spec_pb2.VariableGroup]) -> dict[str, str]:
    return {group.name: group.reduce_on_plateau.monitor for group in groups if group.HasField("reduce_on_plateau")}
