"""What follows from an epoch's scalars: whether it is the best so far, lower learning rates, an early end.

Counters live here, learning rates in the optimizers; both are part of a checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import shown
from gradloom.trainer.directions import Direction
from gradloom.trainer.groups import Group
from gradloom.v1 import spec_pb2


@dataclass(frozen=True)
class Trend:
    """How a scalar has developed over the epochs so far."""

    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    """Epochs without an improvement."""

    def followed_by(self, epoch: int, value: float, direction: Direction, min_delta: float = 0.0) -> "Trend":
        """With one more epoch. What is not a number is never an improvement."""
        best = self.best
        if direction is Direction.DOWN:
            improved = value < (float("inf") if best is None else best - min_delta)
        else:
            improved = value > (float("-inf") if best is None else best + min_delta)
        return Trend(value, epoch) if improved else replace(self, waited=self.waited + 1)


@dataclass(frozen=True)
class Verdict:
    """What an epoch's end decided."""

    is_best: bool
    """By the scalar that marks the best checkpoint."""
    notices: Sequence[str]


class EpochEnds:
    """Judges the ends of epochs, in their order.

    Attributes:
        best: Of the scalar that marks the best checkpoint.
        stopped: Whether the training has ended early.

    Raises:
        InvalidRequestError: What is to be monitored is no scalar of an epoch's end, or nobody can tell which way it
            improves.
    """

    def __init__(self, spec: spec_pb2.JobSpec, groups: Sequence[Group], directions: Mapping[str, Direction | None]):
        options = spec.training
        self.best = Trend()
        self.stopped = False
        self._best_scalar = options.checkpoint.best
        self._early = options.early_stopping if options.HasField("early_stopping") else None
        self._stopping = Trend()
        self._plateaus = {group.name: (group, Trend()) for group in groups if group.reduce_on_plateau is not None}
        faults = list(_faults(spec, directions))
        if faults:
            raise InvalidRequestError(faults)
        self._directions = {name: direction for name, direction in directions.items() if direction is not None}

    @property
    def wants_best(self) -> bool:
        """Whether the weights of the best epoch are to be tested and exported."""
        return self._early is not None and self._early.restore_best

    def after(self, epoch: int, scalars: Mapping[str, float]) -> Verdict:
        """Takes an epoch's scalars in: lowers learning rates and decides whether to stop."""
        name = self._best_scalar
        self.best = self.best.followed_by(epoch, scalars[name], self._directions[name])
        return Verdict(self.best.best_epoch == epoch, [*self._lower_rates(epoch, scalars), *self._stop(epoch, scalars)])

    def _lower_rates(self, epoch: int, scalars: Mapping[str, float]) -> Iterator[str]:
        for name, (group, trend) in self._plateaus.items():
            if not group.is_trained(epoch):
                continue
            wanted = group.reduce_on_plateau
            assert wanted is not None
            trend = trend.followed_by(epoch, scalars[wanted.monitor], self._directions[wanted.monitor])
            if trend.waited >= wanted.patience:
                trend = replace(trend, waited=0)
                before = group.learning_rate()
                group.set_learning_rate(min(before, max(before * wanted.factor, wanted.min_learning_rate)))
                if group.learning_rate() < before:
                    yield (
                        f"group {name!r}: the learning rate is {group.learning_rate():.4g} in place of {before:.4g}, "
                        f"because {wanted.monitor} has not improved since epoch {trend.best_epoch}"
                    )
            self._plateaus[name] = group, trend

    def _stop(self, epoch: int, scalars: Mapping[str, float]) -> Iterator[str]:
        if self._early is None:
            return
        name = self._early.monitor
        trend = self._stopping.followed_by(epoch, scalars[name], self._directions[name], self._early.min_delta)
        self._stopping = trend
        if trend.waited >= self._early.patience:
            self.stopped = True
            since = "" if trend.best is None else f" since epoch {trend.best_epoch} ({trend.best:.6g})"
            yield f"stopped early after epoch {epoch}: {name} has not improved{since}"

    def saved(self) -> dict[str, Any]:
        """All counters, as JSON has it."""
        return {
            "best": asdict(self.best),
            "stopping": asdict(self._stopping),
            "stopped": self.stopped,
            "plateaus": {name: asdict(trend) for name, (_, trend) in self._plateaus.items()},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Goes on with what `saved` gave."""
        self.best, self._stopping = Trend(**saved["best"]), Trend(**saved["stopping"])
        self.stopped = saved["stopped"]
        for name, trend in saved["plateaus"].items():
            self._plateaus[name] = self._plateaus[name][0], Trend(**trend)


def _faults(spec: spec_pb2.JobSpec, directions: Mapping[str, Direction | None]) -> Iterator[FieldFault]:
    monitors = {}
    stopping, best = spec.training.early_stopping.monitor, spec.training.checkpoint.best
    # By default they are one, which is told once.
    if best != stopping:
        monitors["spec.training.checkpoint.best"] = best
    if spec.training.HasField("early_stopping"):
        monitors["spec.training.early_stopping.monitor"] = stopping
    for index, group in enumerate(spec.variable_groups):
        if group.HasField("reduce_on_plateau"):
            monitors[f"spec.variable_groups[{index}].reduce_on_plateau.monitor"] = group.reduce_on_plateau.monitor
    for field, scalar in monitors.items():
        if scalar not in directions:
            yield FieldFault(field, f"must be one of {', '.join(directions)}; got {shown(scalar)}")
        elif directions[scalar] is None:
            told = "must say by its name which way it improves, such as by ending in _error or _accuracy"
            yield FieldFault(field, f"{told}; got {shown(scalar)}")
