"""What a model's outputs are trained towards."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from gradloom.faults import child


@dataclass(frozen=True)
class Target:
    """Loss and metrics of one output of the model."""

    name: str
    """The output's; empty where a spec gives loss and metrics of the one output there is without naming it."""
    loss: keras.losses.Loss
    weight: float = 1.0
    """What the loss is multiplied with in the sum that is minimised."""
    metrics: tuple[keras.metrics.Metric, ...] = ()

    @property
    def field(self) -> str:
        """Where loss and metrics stand in the job, such as `spec.outputs.scores`."""
        return child("spec.outputs", self.name) if self.name else "spec"

    @property
    def prefix(self) -> str:
        """What the names of its scalars begin with."""
        return f"{self.name}_" if self.name else ""


def by_target(labels: tf.Tensor | tuple[tf.Tensor, ...]) -> Sequence[tf.Tensor]:
    """The labels of each target: a model with one output has them as one tensor."""
    return labels if isinstance(labels, tuple) else (labels,)


def loss_names(targets: Sequence[Target]) -> list[str]:
    """The names of the scalars of the losses: of their sum, then of each target that has a name."""
    return ["loss", *(f"{target.name}_loss" for target in targets if target.name)]


def metric_names(targets: Sequence[Target]) -> list[str]:
    """The names of the scalars of the metrics."""
    return [target.prefix + metric.name for target in targets for metric in target.metrics]
