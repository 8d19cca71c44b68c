"""Variable groups: which optimizer trains which variables, and what happens to a gradient before it is applied.

    with strategy.scope():
        groups = build_groups(spec, model, assignment)

Every optimizer is built here, under the strategy's scope and before anything is traced. A group's gradients go through
its transformations, then its clipping, in every step; with `update_every_steps` the mean of the last so many results is
applied.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import keras
import tensorflow as tf

from gradloom.faults import child
from gradloom.trainer import models
from gradloom.trainer.fused import Update, update_of
from gradloom.v1 import spec_pb2

RATE_KEY: Final = "learning_rate"
"""Of a group's learning rate among what it saves, unless that is a schedule."""

GradientTransformation = Callable[[list[tf.Tensor], list[keras.Variable]], list[tf.Tensor]]
"""What a group does to its reduced gradients before it clips them; called in replica context, without state."""


@dataclass(eq=False)
class Group:
    """The variables that one optimizer trains; a frozen group has no optimizer. Made under the strategy's scope."""

    name: str
    variables: tuple[keras.Variable, ...]
    optimizer: keras.optimizers.Optimizer | None
    clip_norm: float | None = None
    clip_value: float | None = None
    update_every_steps: int = 1
    ema_momentum: float | None = None
    unfreeze_at_epoch: int | None = None
    transformations: Sequence[GradientTransformation] = ()
    reduce_on_plateau: spec_pb2.ReduceOnPlateau | None = None
    rate_field: str = ""
    """Where the spec says its learning rate."""
    averages: list[tf.Variable] = field(default_factory=list, init=False)
    """Of the weights, where the group keeps averages."""
    update: Update = field(init=False, repr=False)
    """What applies gradients: Keras's own way or a faster one to the same."""
    waiting: "Waiting | None" = field(default=None, init=False)
    """The gradients since the last update, where updates are rarer than steps."""

    def __post_init__(self) -> None:
        if self.optimizer is None:
            return
        self.optimizer.build(self.variables)
        # The step reduces the gradients of all groups in one call and clips what comes out. Keras has no public way to
        # say that a gradient is already reduced; without this line every optimizer would reduce a second time, after
        # clipping.
        self.optimizer._all_reduce_sum_gradients = list
        # Schedules give float32, also where weights are float64; Muon does not expect that.
        self.optimizer.update_step = partial(_update_with_rate_of_its_type, self.optimizer.update_step)
        self.update = update_of(self.optimizer)
        if self.update_every_steps > 1:
            self.waiting = Waiting(self.variables, self.update_every_steps)
        if self.ema_momentum is not None:
            self.averages.extend(_beside(variable, variable.value, "average") for variable in self.variables)

    def is_trained(self, epoch: int) -> bool:
        """Whether the group is trained in an epoch, counted from 1."""
        return self.optimizer is not None and epoch >= (self.unfreeze_at_epoch or 1)

    def prepared(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The group's reduced gradients, transformed and with its own clipping; runs in replica context."""
        prepared = list(gradients)
        for transformation in self.transformations:
            prepared = transformation(prepared, list(self.variables))
        if self.clip_norm is not None:
            return clip_together(prepared, self.clip_norm)
        if self.clip_value is not None:
            return [tf.clip_by_value(gradient, -self.clip_value, self.clip_value) for gradient in prepared]
        return prepared

    def apply_mean(self) -> None:
        """Applies the mean of the gradients that wait; runs in replica context."""
        assert self.waiting is not None
        self.apply(self.waiting.take_mean())

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the group's variables, their constraints and their averages; runs in replica context."""
        assert self.optimizer is not None
        is_first = tf.equal(tf.convert_to_tensor(self.optimizer.iterations), 0) if self.averages else None
        self.update(gradients, self.variables)
        for average, variable in zip(self.averages, self.variables if self.averages else (), strict=True):
            momentum = tf.constant(self.ema_momentum, average.dtype)
            keep = tf.where(is_first, tf.zeros_like(momentum), momentum)
            average.assign(keep * average + (1 - keep) * tf.convert_to_tensor(variable))

    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        assert self.optimizer is not None
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def set_learning_rate(self, value: float) -> None:
        """Trains on with another learning rate; a group with a schedule has none to set."""
        assert self.optimizer is not None
        self.optimizer.learning_rate = value

    def averaged_weights(self) -> list[tf.Tensor] | None:
        """The weights to evaluate and to export with, by variable; None where they are those that are trained."""
        sums = self.averages_as_saved()
        if not sums:
            return None
        saved = self.saved_variables()
        return [
            tf.add_n(
                [
                    tf.cast(factor, variable.dtype) * tf.convert_to_tensor(saved[key] if key else variable)
                    for key, factor in terms.items()
                ]
            )
            for variable, terms in zip(self.variables, sums, strict=True)
        ]

    def averages_as_saved(self) -> list[dict[str, float]]:
        """The averages as sums: by variable, factors by keys of `saved_variables`, "" for the variable itself.

        Empty where there are none. Whoever has the saved values alone finds the averages with it.
        """
        if self.optimizer is None or self.optimizer.iterations.numpy() == 0:
            return []
        if self.averages:
            return [{f"average/{index}": 1.0} for index in range(len(self.averages))]
        if isinstance(self.optimizer, keras.optimizers.ScheduleFreeAdamW):
            # It trains y = (1 - beta_1) * z + beta_1 * x, keeps z as its momentum, and averages to x.
            beta = self.optimizer.beta_1
            keys = {id(variable): key for key, variable in self.saved_variables().items()}
            momentums = self.optimizer._momentums
            return [{"": 1 / beta, keys[id(momentum.value)]: 1 - 1 / beta} for momentum in momentums]
        return []

    def saved_variables(self) -> dict[str, tf.Variable]:
        """All state that the group has beside the model's variables, by a stable key."""
        if self.optimizer is None:
            return {}
        # Keras's paths are not unique (Adafactor), and it may list a variable twice. The learning rate is one unless it
        # is a schedule; it has a key of its own, because a retried job may have another one.
        rate = self.optimizer._learning_rate
        kept = {id(variable): variable for variable in self.optimizer.variables if variable is not rate}.values()
        saved = {f"optimizer/{index} {variable.path}": variable.value for index, variable in enumerate(kept)}
        if isinstance(rate, keras.Variable):
            saved[RATE_KEY] = rate.value
        saved |= {f"average/{index}": variable for index, variable in enumerate(self.averages)}
        return saved | (self.waiting.saved_variables() if self.waiting else {})


def _update_with_rate_of_its_type(
    update_step: Callable[..., None], gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any
) -> None:
    update_step(gradient, variable, tf.cast(learning_rate, variable.dtype))


class Waiting:
    """The sums of a group's gradients since its last update, which comes once in `every` steps."""

    def __init__(self, variables: Sequence[keras.Variable], every: int):
        self._every = every
        self._sums = [_beside(variable, tf.zeros_like(variable), "sum") for variable in variables]
        with tf.device("CPU:0"):
            self._steps = tf.Variable(0, dtype=tf.int32, trainable=False, name="steps_since_update")

    def add(self, gradients: Sequence[tf.Tensor]) -> None:
        """Adds those of a step; runs in replica context."""
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(gradient)

    def is_due(self) -> tf.Tensor:
        """Counts a step; whether the update comes after it. Runs in cross-replica context."""
        return tf.equal(self._steps.assign((self._steps + 1) % self._every), 0)

    def take_mean(self) -> list[tf.Tensor]:
        """The mean, by variable; starts anew. Runs in replica context."""
        mean = [total / self._every for total in self._sums]
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        return mean

    def saved_variables(self) -> dict[str, tf.Variable]:
        """By a stable key."""
        sums = {f"sum/{index}": variable for index, variable in enumerate(self._sums)}
        return {**sums, "steps_since_update": self._steps}


def _beside(variable: keras.Variable, value: Any, name: str) -> tf.Variable:
    """A variable where `variable` is, one on each replica."""
    with tf.distribute.get_strategy().extended.colocate_vars_with(variable.value):
        return tf.Variable(tf.convert_to_tensor(value), trainable=False, name=f"{variable.name}_{name}")


@contextmanager
def averages_in_place(groups: Iterable[Group]) -> Iterator[None]:
    """Within it the model has the averages of its weights, where a group has some; runs in cross-replica context."""
    trained = []
    for group in groups:
        averages = group.averaged_weights()
        for variable, average in zip(group.variables, averages, strict=True) if averages is not None else ():
            trained.append((variable, tf.identity(variable.value)))
            variable.assign(average)
    try:
        yield
    finally:
        for variable, value in trained:
            variable.assign(value)


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
        InvalidRequestError: An optimizer, a schedule or a gradient transformation refuses its config.
    """
    variables = models.variable_paths(model)
    groups = []
    for index, wanted in enumerate(spec.variable_groups):
        where = f"spec.variable_groups[{index}]"
        own = tuple(variable for path, variable in variables if assignment.get(path) == wanted.name)
        groups.append(
            Group(
                name=wanted.name,
                variables=own,
                optimizer=None if wanted.frozen else models.build_optimizer(wanted, where),
                clip_norm=wanted.clip_norm if wanted.HasField("clip_norm") else None,
                clip_value=wanted.clip_value if wanted.HasField("clip_value") else None,
                update_every_steps=wanted.update_every_steps if wanted.HasField("update_every_steps") else 1,
                ema_momentum=wanted.ema_momentum if wanted.HasField("ema_momentum") else None,
                unfreeze_at_epoch=wanted.unfreeze_at_epoch if wanted.HasField("unfreeze_at_epoch") else None,
                transformations=tuple(
                    models.build_component(
                        "gradient_transformation", one, child(child(where, "gradient_transformations"), position)
                    )
                    for position, one in enumerate(wanted.gradient_transformations)
                ),
                reduce_on_plateau=wanted.reduce_on_plateau if wanted.HasField("reduce_on_plateau") else None,
                rate_field=f"{where}{'' if wanted.HasField('learning_rate') else '.optimizer.config'}.learning_rate",
            )
        )
    return tuple(groups)
