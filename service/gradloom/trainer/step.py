"""One step on one global batch, from the replicas' point of view.

`TrainingStep` and `EvaluationStep` hold the functions that run in replica context. They are called within
`strategy.run`, in the graph of the loop (`loop.py`), which owns when they run. Row counts are static: a replica may
have fewer rows than the others, or none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from gradloom.trainer.batches import Share
from gradloom.trainer.directions import Direction, direction_of
from gradloom.trainer.groups import Group, clip_together, squared_norm
from gradloom.trainer.losses import Found, Objective
from gradloom.trainer.own_state import OwnMetrics
from gradloom.trainer.precision import LossScale
from gradloom.trainer.targets import Target, by_target, loss_names


class Tally:
    """The running results of a pass over data: the mean loss, that of each output that has a name, and the metrics.

    Built under the strategy's scope. Each replica adds to its own copy; reading them outside adds the copies up.
    """

    def __init__(self, targets: Sequence[Target], own: OwnMetrics):
        self._targets = tuple(targets)
        self._own = own
        self._loss_names = loss_names(targets)
        # By what the names of their scalars begin with.
        self._metrics = [(target.prefix, metric) for target in targets for metric in target.metrics]
        self._metrics += [("", metric) for metric in own.metrics]
        self.metrics = tuple(metric for _, metric in self._metrics)
        self._loss_sums = tf.Variable(
            tf.zeros([len(self._loss_names)], tf.float64),
            trainable=False,
            name="loss_sums",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )

    def add(self, found: Found, share: Share) -> None:
        """Counts a replica's share of a batch and of its loss; runs in replica context."""
        named = [loss for loss, target in zip(found.losses, self._targets, strict=True) if target.name]
        losses = tf.stack([tf.cast(loss, tf.float64) for loss in (found.loss, *named)])
        self._loss_sums.assign_add(losses * share.total)
        if share.rows:
            labels = by_target(share.examples.labels)
            for target, own, output in zip(self._targets, labels, found.outputs, strict=True):
                for metric in target.metrics:
                    metric.update_state(own, output)

    def counting(self, share: Share) -> AbstractContextManager[None]:
        """Within it a forward pass on a replica's share counts in the metrics that the model's layers keep."""
        return self._own.counting(share.rows)

    def reset(self) -> None:
        """Starts anew; runs in cross-replica context."""
        self._loss_sums.assign(tf.zeros_like(self._loss_sums))
        for metric in self.metrics:
            metric.reset_state()

    def saved_variables(self) -> dict[str, Any]:
        """All state, by a stable key."""
        saved: dict[str, Any] = {"loss_sums": self._loss_sums}
        for index, metric in enumerate(self.metrics):
            for position, variable in enumerate(metric.variables):
                saved[f"metric/{index} {metric.name}/{position} {variable.name}"] = variable
        return saved

    def scalars(self, examples: int) -> dict[str, float]:
        """The mean losses and every metric of the `examples` counted so far, by name; runs in cross-replica context."""
        results = [float(value) for _, value in self._results()]
        return self.named([*self._loss_sums.read_value().numpy(), *results], examples)

    def measured(self) -> tf.Tensor:
        """What `named` takes, float64; in the graph, in cross-replica context."""
        results = [tf.cast(value, tf.float64) for _, value in self._results()]
        return tf.concat([self._loss_sums.read_value(), *([tf.stack(results)] if results else [])], axis=0)

    def named(self, measured: Sequence[float], examples: int) -> dict[str, float]:
        """The scalars of so many examples by name, of the sums of their losses and the results of the metrics."""
        losses = len(self._loss_names)
        values = [*(value / examples for value in measured[:losses]), *measured[losses:]]
        return {name: float(value) for name, value in zip(self.names, values, strict=True)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all scalars: of the losses, then of the metrics."""
        return (*self._loss_names, *(name for name, _ in self._results()))

    def _results(self) -> Iterator[tuple[str, tf.Tensor]]:
        for prefix, metric in self._metrics:
            result = metric.result()
            for name, value in (result if isinstance(result, dict) else {metric.name: result}).items():
                # A result may be a variable itself, which differs from replica to replica until it is read.
                yield prefix + name, tf.convert_to_tensor(value)

    def directions(self) -> dict[str, Direction | None]:
        """Which way each scalar improves, by name; None where nobody can tell."""
        found: dict[str, Direction | None] = dict.fromkeys(self._loss_names, Direction.DOWN)
        for prefix, metric in self._metrics:
            result = metric.result()
            for name in result if isinstance(result, dict) else [metric.name]:
                found[prefix + name] = direction_of(name, metric)
        return found


class NotFiniteError(Exception):
    """The loss or a reduced gradient is infinite or not a number; what follows would be worth nothing.

    Attributes:
        step: The update, from 1, that was the first.
        what: What broke: the first group in the spec's order whose gradient is not finite, else the loss.
        rate_field: Where the spec says the learning rate of that group; empty where it is the loss.
    """

    def __init__(self, step: int, what: str, rate_field: str = ""):
        self.step = step
        self.what = what
        self.rate_field = rate_field
        super().__init__(f"{what} is not finite at step {step}")


class Backward(NamedTuple):
    """What the forward and backward passes on a batch, or on a part of it, give: shares of replicas, or their sums."""

    loss: tf.Tensor
    gradients: list[tf.Tensor]
    """By trained variable; dense."""

    def plus(self, other: "Backward") -> "Backward":
        """The sums with those of another part of the batch."""
        pairs = zip(self.gradients, other.gradients, strict=True)
        return Backward(self.loss + other.loss, [one + another for one, another in pairs])


class Reduced(NamedTuple):
    """The sums of all replicas' shares, the same on each of them."""

    gradients: list[tf.Tensor]
    measures: tf.Tensor
    """[1 + groups]: the loss, and the square of the L2 norm of each group's gradient, before any clipping."""


class TrainingStep:
    """One update of the groups that are trained, from one global batch; runs in replica context.

    One gradient call over all trained variables and one all-reduce; then, on the reduced gradients, the clipping over
    all groups, each group's transformations and clipping, its optimizer and its constraints. The parts are methods of
    their own, because what depends on a condition runs in another `strategy.run` (`program.py`).
    """

    def __init__(
        self,
        objective: Objective,
        groups: Sequence[Group],
        clip_norm: float | None,
        tally: Tally,
        loss_scale: LossScale | None = None,
        compiled: bool = False,
    ):
        self.groups = tuple(groups)
        self.loss_scale = loss_scale
        self._compiled = compiled
        self._objective = objective
        self._clip_norm = clip_norm
        self._tally = tally
        self.variables = tuple(variable for group in self.groups for variable in group.variables)
        self._watched = [variable.value for variable in self.variables]
        self._measures = np.zeros([1 + len(self.groups)])

    def __call__(self, share: Share) -> tf.Tensor:
        """Trains on this replica's share of a batch, whatever it gives; returns `Reduced.measures`."""
        reduced = self.reduce(self.backward(share))
        self.update(reduced)
        return reduced.measures

    @property
    def kind(self) -> tf.DType:
        """The type of the weights, and with them of the gradients and of what is measured."""
        return self._watched[0].dtype if self._watched else self._objective.loss_dtype

    def backward(self, share: Share) -> Backward:
        """This replica's share of the loss and its gradients, scaled in float16; counts the share in the tally."""
        found, gradients = self._compiled_passes(share) if self._compiled else self._passes(share)
        self._tally.add(found, share)
        return Backward(found.loss, gradients)

    def _passes(self, share: Share) -> tuple[Found, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._watched)
            with self._tally.counting(share):
                found = self._objective(share, training=True, trained=self.variables)
            target = found.loss if self.loss_scale is None else self.loss_scale.scaled(found.loss)
        return found, [
            # A variable that the loss does not reach has a gradient of 0.
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(tape.gradient(target, self._watched), self._watched, strict=True)
        ]

    def _compiled_passes(self, share: Share) -> tuple[Found, list[tf.Tensor]]:
        replica = tf.distribute.get_replica_context()
        if share.counts is None and replica.num_replicas_in_sync > 1:
            # XLA reduces over no replicas: what the passes would ask for is found before.
            share = share._replace(counts=replica.all_reduce(tf.distribute.ReduceOp.SUM, self.counts(share)))
        return tf.function(self._passes, autograph=False, jit_compile=True)(share)

    def counts(self, share: Share) -> tf.Tensor:
        """What `Share.counts` holds, of this replica's share."""
        return self._objective.counts(share)

    def no_counts(self) -> tf.Tensor:
        """The counts of no part of a batch."""
        return tf.zeros([self._objective.losses], self._objective.loss_dtype)

    def nothing(self) -> Backward:
        """What the passes on no part of a batch give."""
        return Backward(tf.zeros([], self._objective.loss_dtype), [tf.zeros_like(one) for one in self._watched])

    def reduce(self, backward: Backward) -> Reduced:
        """The sums over the replicas, in one call."""
        # The loss goes with the gradients as one of them: one data type a call.
        loss, *gradients = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.cast(backward.loss, self.kind), *backward.gradients]
        )
        if self.loss_scale is not None:
            gradients = self.loss_scale.unscaled(gradients)
        # One kernel that reads a gradient once, and half the sum of its squares.
        squares = [2 * tf.add_n([tf.nn.l2_loss(gradient) for gradient in own]) for own in self._split(gradients)]
        return Reduced(gradients, tf.stack([tf.cast(one, loss.dtype) for one in (loss, *squares)]))

    def update(self, reduced: Reduced) -> None:
        """Applies the gradients, or adds them to those that wait."""
        by_group = self._split(reduced.gradients)
        if self._clip_norm is not None:
            by_group = self._split(clip_together(reduced.gradients, self._clip_norm))
        for group, own in zip(self.groups, by_group, strict=True):
            prepared = group.prepared(own)
            if group.waiting is None:
                group.apply(prepared)
            else:
                group.waiting.add(prepared)

    def _split(self, gradients: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        rest = iter(gradients)
        return [[next(rest) for _ in group.variables] for group in self.groups]

    def note(self, measures: np.ndarray, step: int) -> None:
        """Keeps what a step measured; raises NotFiniteError unless all of it is finite.

        A gradient whose norm is beyond the range of its type counts as broken too.
        """
        self._measures = measures
        loss, *gradients = np.isfinite(measures)
        scaled = ", and smaller loss scales did not help," if self.loss_scale is not None else ""
        for group, is_finite in zip(self.groups, gradients, strict=True):
            if not is_finite:
                what = f"group {group.name!r}: its gradient" + ("" if loss else ", as the loss,")
                raise NotFiniteError(step, what + scaled, group.rate_field)
        if not loss:
            raise NotFiniteError(step, "the loss" + scaled)

    @cached_property
    def weights(self) -> Callable[[], list[tf.Tensor]]:
        """Gives the trained variables as they are; a later update in the graph leaves the values alone."""
        return tf.function(lambda: [tf.identity(variable) for variable in self._watched], autograph=False)

    @cached_property
    def movement(self) -> Callable[[Sequence[tf.Tensor]], tf.Tensor]:
        """Gives for each group, of [groups, 2], the squared norms of what `weights` gave, and of the change since."""

        def measure(before: Sequence[tf.Tensor]) -> tf.Tensor:
            changes = [tf.convert_to_tensor(now) - then for now, then in zip(self._watched, before, strict=True)]
            sides = zip(self._split(before), self._split(changes), strict=True)
            return tf.stack([tf.stack([squared_norm(size), squared_norm(change)]) for size, change in sides])

        return tf.function(measure, autograph=False)

    def gradient_norms(self) -> dict[str, float]:
        """The L2 norm of each group's reduced gradient before any clipping, as of the step that was noted last."""
        norms = np.sqrt(self._measures[1:])
        return {group.name: float(norm) for group, norm in zip(self.groups, norms, strict=True)}


class EvaluationStep:
    """Counts one batch without changing the model; runs in replica context."""

    def __init__(self, objective: Objective, tally: Tally):
        self._objective = objective
        self._tally = tally

    def __call__(self, share: Share) -> None:
        """Evaluates this replica's share of a batch."""
        with self._tally.counting(share):
            found = self._objective(share, training=False)
        self._tally.add(found, share)
