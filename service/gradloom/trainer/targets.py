"""What a model's outputs are trained towards."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from gradloom.errors import FieldFault, InvalidRequestError, refusal
from gradloom.faults import child, shown


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


def arranged(targets: Sequence[Target], outputs: Sequence[str]) -> tuple[Target, ...]:
    """The targets in the order of a model's outputs, given by name as `models.output_names` does.

    Raises:
        InvalidRequestError: An output has no target, a target no output, or the outputs cannot be told apart.
    """
    if len(outputs) == 1 and not targets[0].name:
        return tuple(targets)
    listed = ", ".join(map(shown, outputs))
    if not targets[0].name:
        rule = "is required, with a loss for each, in place of loss"
        raise refusal("spec.outputs", f"{rule}: the model's outputs are {listed}")
    # `name` and `name:0` are the same output.
    by_output = {target.name.removesuffix(":0"): target for target in targets}
    faults = [
        FieldFault("spec.outputs", f"must hold every output of the model; {shown(name)} is missing")
        for name in outputs
        if name not in by_output
    ]
    faults += [
        FieldFault(target.field, f"must be an output of the model: {listed}; got {shown(target.name)}")
        for name, target in by_output.items()
        if name not in outputs
    ]
    if len(set(outputs)) < len(outputs):
        faults.append(FieldFault("spec.model", f"must give each output once; its outputs are {listed}"))
    if faults:
        raise InvalidRequestError(faults)
    return tuple(by_output[name] for name in outputs)


def by_target(labels: tf.Tensor | tuple[tf.Tensor, ...]) -> Sequence[tf.Tensor]:
    """The labels of each target: a model with one output has them as one tensor."""
    return labels if isinstance(labels, tuple) else (labels,)


def loss_names(targets: Sequence[Target]) -> list[str]:
    """The names of the scalars of the losses: of their sum, then of each target that has a name."""
    return ["loss", *(f"{target.name}_loss" for target in targets if target.name)]


def metric_names(targets: Sequence[Target]) -> list[str]:
    """The names of the scalars of the metrics."""
    return [target.prefix + metric.name for target in targets for metric in target.metrics]
