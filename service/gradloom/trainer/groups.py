"""Variable groups: which optimizer trains which variables, and what happens to a gradient before it is applied.

    with strategy.scope():
        groups = build_groups(spec, model, assignment)

Every optimizer is built here, under the strategy's scope and before anything is traced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from gradloom.trainer import models
from gradloom.v1 import spec_pb2


@dataclass(frozen=True)
class Group:
    """The variables that one optimizer trains; a frozen group has no optimizer."""

    name: str
    variables: tuple[keras.Variable, ...]
    optimizer: keras.optimizers.Optimizer | None
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        if self.optimizer is None:
            return
        self.optimizer.build(self.variables)
        # The step reduces the gradients of all groups in one call and clips what comes out. Keras has no public way to
        # say that a gradient is already reduced; without this line every optimizer would reduce a second time, after
        # clipping.
        self.optimizer._all_reduce_sum_gradients = list

    def clipped(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The group's reduced gradients with the group's own clipping; runs in replica context."""
        if self.clip_norm is not None:
            return clip_together(gradients, self.clip_norm)
        if self.clip_value is not None:
            return [tf.clip_by_value(gradient, -self.clip_value, self.clip_value) for gradient in gradients]
        return list(gradients)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the group's variables, then their constraints; runs in replica context."""
        assert self.optimizer is not None
        self.optimizer.apply(gradients, self.variables)

    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        assert self.optimizer is not None
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))


def clip_together(gradients: Sequence[tf.Tensor], largest_norm: float) -> list[tf.Tensor]:
    """The gradients, scaled down so that the L2 norm of all of them together is at most `largest_norm`."""
    norm = tf.sqrt(squared_norm(gradients))
    scale = tf.cast(largest_norm, norm.dtype) / tf.maximum(norm, tf.cast(largest_norm, norm.dtype))
    return [gradient * tf.cast(scale, gradient.dtype) for gradient in gradients]


def squared_norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of the squares of all elements."""
    return tf.add_n([tf.reduce_sum(tf.square(tensor)) for tensor in tensors])


def build_groups(spec: spec_pb2.JobSpec, model: keras.Model, assignment: Mapping[str, str]) -> tuple[Group, ...]:
    """Builds the spec's groups with their optimizers; call under the strategy's scope.

    Args:
        spec: With defaults.
        model: Built under the same scope.
        assignment: For each trainable variable's path below the model's name the name of its group.

    Raises:
        InvalidRequestError: An optimizer or a schedule refuses its config.
    """
    variables = models.variable_paths(model)
    groups = []
    for index, wanted in enumerate(spec.variable_groups):
        field = f"spec.variable_groups[{index}]"
        own = tuple(variable for path, variable in variables if assignment.get(path) == wanted.name)
        groups.append(
            Group(
                name=wanted.name,
                variables=own,
                optimizer=None if wanted.frozen else models.build_optimizer(wanted, field),
                clip_norm=wanted.clip_norm if wanted.HasField("clip_norm") else None,
                clip_value=wanted.clip_value if wanted.HasField("clip_value") else None,
            )
        )
    return tuple(groups)
