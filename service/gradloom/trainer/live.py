"""What can be seen of a training while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GroupLook:
    """One group as of the last step before a look, as GroupProgress has it; no `update_ratio` for weights of 0."""

    learning_rate: float
    gradient_norm: float
    update_ratio: float | None


@dataclass(frozen=True)
class LiveProgress:
    """What can be seen of the training at a moment."""

    epoch: int = 0
    """From 1; 0 before the first."""
    global_step: int = 0
    """Updates so far, over all epochs."""
    examples: int = 0
    """Training examples so far, over all epochs."""
    evaluating: bool = False
    """Whether a pass without training is in work."""
    training_seconds: float = 0.0
    """Time spent in training steps so far, tracing included, evaluation not."""
    scalars: Mapping[str, float] = field(default_factory=dict)
    """The newest of every scalar: within an epoch the means since its start, else its results."""
    groups: Mapping[str, GroupLook] = field(default_factory=dict)
    """By name, without frozen ones; empty before the first step."""
    first_step_time: float | None = None
    """`time.monotonic()` when the first step had ended; None before."""
