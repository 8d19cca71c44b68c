"""One step on one global batch, from the replicas' point of view.

`TrainingStep` and `EvaluationStep` hold the functions that run in replica context. They are called within
`strategy.run`, in the graph of the loop (`loop.py`), which owns when they run. Row counts are static: a replica may
have fewer rows than the others, or none.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from gradloom.trainer.batches import Share, replica_number
from gradloom.trainer.groups import Group, clip_together, squared_norm
from gradloom.trainer.losses import Objective


class Tally:
    """The running results of a pass over data: the mean loss and the metrics.

    Built under the strategy's scope. Each replica adds to its own copy; reading them outside adds the copies up.
    """

    def __init__(self, metrics: Sequence[keras.metrics.Metric]):
        self.metrics = tuple(metrics)
        self._loss_sum = tf.Variable(
            tf.zeros((), tf.float64),
            trainable=False,
            name="loss_sum",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )

    def add(self, loss: tf.Tensor, share: Share, outputs: tf.Tensor) -> None:
        """Counts a replica's share of a batch and of its loss; runs in replica context."""
        self._loss_sum.assign_add(tf.cast(loss, tf.float64) * share.total)
        for metric in self.metrics if share.rows else ():
            metric.update_state(share.examples.labels, outputs)

    def reset(self) -> None:
        """Starts anew; runs in cross-replica context."""
        self._loss_sum.assign(0)
        for metric in self.metrics:
            metric.reset_state()

    def loss(self, examples: int) -> float:
        """The mean loss of the `examples` counted so far; cheap, and safe from any thread."""
        return float(self._loss_sum.read_value()) / examples

    def scalars(self, examples: int) -> dict[str, float]:
        """The mean loss and every metric of the `examples` counted so far, by name; runs in cross-replica context."""
        scalars = {"loss": self.loss(examples)}
        for metric in self.metrics:
            result = metric.result()
            for name, value in (result if isinstance(result, dict) else {metric.name: result}).items():
                scalars[name] = float(value)
        return scalars


class TrainingStep:
    """One update of every group from one global batch; runs in replica context.

    One gradient call over all trained variables and one all-reduce; then, on the reduced gradients, the clipping over
    all groups, each group's own clipping, its optimizer and its constraints.
    """

    def __init__(self, objective: Objective, groups: Sequence[Group], clip_norm: float | None, tally: Tally):
        self._objective = objective
        self._groups = [group for group in groups if group.optimizer is not None]
        self._clip_norm = clip_norm
        self._tally = tally
        self._variables = [variable.value for group in self._groups for variable in group.variables]
        # Squared norms of the reduced gradients by group, as of the last step that was told to look.
        self._squared_norms = tf.Variable(tf.zeros([len(self._groups)], tf.float32), trainable=False, name="norms")

    def __call__(self, share: Share, look: tf.Tensor) -> None:
        """Trains on this replica's share of a batch; keeps the gradient norms if `look`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            loss, outputs = self._objective(share, training=True)
        gradients = self._reduce(tape.gradient(loss, self._variables))
        self._tally.add(loss, share, outputs)
        by_group = self._split(gradients)
        self._keep_norms(by_group, look)
        if self._clip_norm is not None:
            by_group = self._split(clip_together(gradients, self._clip_norm))
        for group, own in zip(self._groups, by_group, strict=True):
            group.apply(group.clipped(own))

    def _reduce(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[tf.Tensor]:
        """The sums over the replicas, in one call; a variable that the loss does not reach has a gradient of 0."""
        dense = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(gradients, self._variables, strict=True)
        ]
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, dense)

    def _split(self, gradients: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        rest = iter(gradients)
        return [[next(rest) for _ in group.variables] for group in self._groups]

    def _keep_norms(self, by_group: Sequence[Sequence[tf.Tensor]], look: tf.Tensor) -> None:
        if replica_number() != 0:
            return

        def keep() -> tf.Tensor:
            with tf.control_dependencies(
                [self._squared_norms.assign(tf.stack([tf.cast(squared_norm(own), tf.float32) for own in by_group]))]
            ):
                return tf.constant(True)

        tf.cond(look, keep, lambda: tf.constant(False))

    def gradient_norms(self) -> dict[str, float]:
        """The L2 norm of each group's reduced gradient before any clipping, at the last look."""
        norms = tf.sqrt(self._squared_norms).numpy()
        return {group.name: float(norm) for group, norm in zip(self._groups, norms, strict=True)}


class EvaluationStep:
    """Counts one batch without changing the model; runs in replica context."""

    def __init__(self, objective: Objective, tally: Tally):
        self._objective = objective
        self._tally = tally

    def __call__(self, share: Share) -> None:
        """Evaluates this replica's share of a batch."""
        loss, outputs = self._objective(share, training=False)
        self._tally.add(loss, share, outputs)
