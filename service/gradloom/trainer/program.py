"""What runs in the graph: many steps on batches of data in memory, until the end or somebody's interrupt.

`Program` composes the steps in replica context (`step.py`) with the sampling of batches (`batches.py`); the loop
(`loop.py`) owns when it runs. Everything here runs in cross-replica context.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from gradloom.trainer.batches import (
    Batches,
    Examples,
    Part,
    Share,
    Whole,
    gather,
    in_order,
    micro_batches,
    replica_number,
    run_on_shares,
)
from gradloom.trainer.interrupt import Interrupt
from gradloom.trainer.normalization import frozen_at_rest
from gradloom.trainer.step import Backward, EvaluationStep, Reduced, TrainingStep


class Program:
    """The traced functions of one training.

    Args:
        model: Says what type its input has.
        strategy: Whose replicas share each batch.
        evaluation_step: Evaluates a share.
        train: What is trained on.
        interrupt: Ends a run between two steps.
        stand_in: Whether a replica without rows gets one to run on.
        micro_batches: How many parts of each batch are run one after the other.
        after_step: What is done in the graph after each step, given its number from 1.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        evaluation_step: EvaluationStep,
        train: Batches,
        interrupt: Interrupt,
        stand_in: bool,
        micro_batches: int = 1,
        after_step: Callable[[tf.Tensor], None] | None = None,
    ):
        self._model = model
        self._strategy = strategy
        self._evaluation_step = evaluation_step
        self._data = train
        self._interrupt = interrupt
        self._stand_in = stand_in
        self._micro_batches = micro_batches
        self._after_step = after_step
        self._seed_generators = [
            variable.value for variable in model.variables if variable.name == "seed_generator_state"
        ]
        with tf.device("CPU:0"):
            self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="global_step")
            self._evaluated = tf.Variable(0, dtype=tf.int64, trainable=False, name="evaluated_batches")
        # By training step: there is one for each set of groups that is trained in some epoch.
        self._steps_functions: dict[TrainingStep, Callable[..., tuple[tf.Tensor, tf.Tensor]]] = {}
        self._rest_functions: dict[TrainingStep, Callable[..., tf.Tensor]] = {}
        self._pass_functions: dict[tuple[Any, ...], Callable[..., tf.Tensor]] = {}

    def batches(self) -> int:
        """How many batches have been trained on or evaluated; from any thread."""
        return int(self.global_step) + int(self._evaluated)

    def train(self, step: TrainingStep, order: tf.Tensor, begin: int, end: int) -> int:
        """Trains on full batches [begin, end) of a pass, fewer when interrupted; returns the one it came to.

        `step` notes what the last of them measured.

        Raises:
            NotFiniteError: The loss or a gradient was not finite in the last of the steps.
        """
        if step not in self._steps_functions:
            self._steps_functions[step] = tf.function(partial(self._steps, step), autograph=False)
        reached, measures = self._steps_functions[step](order, tf.constant(begin), tf.constant(end))
        if reached > begin:
            step.note(measures.numpy(), int(self.global_step))
        return int(reached)

    def train_rest(self, step: TrainingStep, order: tf.Tensor) -> None:
        """Trains on the last, smaller batch of a pass; raises as `train` does."""
        if step not in self._rest_functions:
            self._rest_functions[step] = tf.function(partial(self._rest, step), autograph=False)
        step.note(self._rest_functions[step](order).numpy(), int(self.global_step))

    def evaluate(self, batches: Batches, rows: int, begin: int, end: int) -> int:
        """Evaluates batches [begin, end) of `rows` examples, fewer when interrupted; returns the one it came to."""
        run = self._pass_function(batches, rows)
        return int(run(*batches.examples.tensors(), tf.constant(begin), tf.constant(end)))

    def _steps(
        self, step: TrainingStep, order: tf.Tensor, begin: tf.Tensor, end: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def go_on(position: tf.Tensor, measures: tf.Tensor) -> tf.Tensor:
            return (position < end) & ~self._interrupt.pending & tf.reduce_all(tf.math.is_finite(measures))

        def train_batch(position: tf.Tensor, measures: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return position + 1, self._train_batch(step, order, position * self._data.size, self._data.size)

        return tf.while_loop(go_on, train_batch, (begin, tf.zeros([1 + len(step.groups)], step.kind)))

    def _rest(self, step: TrainingStep, order: tf.Tensor) -> tf.Tensor:
        begin = tf.constant(self._data.full * self._data.size)
        return self._train_batch(step, order, begin, self._data.rest)

    def _train_batch(self, step: TrainingStep, order: tf.Tensor, begin: tf.Tensor, rows: int) -> tf.Tensor:
        """Returns what the step measured."""
        with frozen_at_rest(self._model, step.variables):
            if self._micro_batches == 1 and step.loss_scale is None:
                measures, *_ = self._run_on_shares(step, self._batch(order, begin, rows))
                self._apply_what_is_due(step)
            else:
                measures = self._update(step, self._backward(step, order, begin, rows))
        self.global_step.assign_add(1)
        if self._after_step is not None:
            self._after_step(self.global_step.read_value())
        return measures

    def _backward(self, step: TrainingStep, order: tf.Tensor, begin: tf.Tensor, rows: int) -> tuple[Backward, ...]:
        """What forward and backward passes give on each replica, summed over the micro-batches of a batch."""
        if self._micro_batches == 1:
            return self._run_on_shares(step.backward, self._batch(order, begin, rows))
        parts = micro_batches(rows, self._micro_batches)
        # Every part draws from the same state, as the whole batch would.
        states = [(variable, tf.identity(variable)) for variable in self._seed_generators]

        def run(replica_step: Callable[[Share], Any], offset: tf.Tensor, size: int, counts: tf.Tensor | None) -> Any:
            whole = Whole(offset, rows, min(rows, self._micro_batches), counts)
            return self._run_on_shares(replica_step, self._batch(order, begin + offset, size), whole)

        def count(offset: tf.Tensor, size: int, counts: Sequence[tf.Tensor]) -> Any:
            return run(lambda share: counts[replica_number()] + step.counts(share), offset, size, None)

        def add(offset: tf.Tensor, size: int, totals: Sequence[Backward]) -> Any:
            for variable, state in states:
                variable.assign(state)
            return run(lambda share: totals[replica_number()].plus(step.backward(share)), offset, size, counts)

        counts = tf.add_n(_sum_up(parts, count, self._on_replicas(step.no_counts)))
        return _sum_up(parts, add, self._on_replicas(step.nothing))

    def _update(self, step: TrainingStep, backward: Sequence[Backward]) -> tf.Tensor:
        """Reduces and updates; with a loss scale nothing is updated after an overflow, which is measured as 0."""

        def reduce() -> Reduced:
            # What comes out of a loop in the graph is on no device; a reduction wants to know which.
            return step.reduce(tf.nest.map_structure(tf.identity, backward[replica_number()]))

        reduced = self._on_replicas(reduce)
        measures = reduced[0].measures

        def update() -> None:
            self._on_replicas(lambda: step.update(reduced[replica_number()]))
            self._apply_what_is_due(step)

        if step.loss_scale is None:
            update()
            return measures
        finite = tf.math.is_finite(measures)
        all_finite = tf.reduce_all(finite)
        self._if(all_finite, update)
        return tf.where(step.loss_scale.adjust(all_finite) & ~finite, tf.zeros_like(measures), measures)

    def _apply_what_is_due(self, step: TrainingStep) -> None:
        for group in step.groups:
            if group.waiting is not None:
                self._if(group.waiting.is_due(), partial(self._on_replicas, group.apply_mean))

    def _on_replicas(self, replica_step: Callable[[], Any]) -> tuple[Any, ...]:
        """What a function in replica context gives on each replica."""
        return self._strategy.experimental_local_results(self._strategy.run(replica_step))

    def _if(self, condition: tf.Tensor, act: Callable[[], Any]) -> None:
        """Acts in cross-replica context where the condition holds; a cond within `strategy.run` could not reduce."""

        def acted() -> tf.Tensor:
            act()
            return tf.constant(True)

        tf.cond(condition, acted, lambda: tf.constant(False))

    def _batch(self, order: tf.Tensor, begin: tf.Tensor, rows: int) -> Examples:
        return gather(self._data.examples, order, begin, rows)

    def _run_on_shares(
        self, replica_step: Callable[[Share], Any], examples: Examples, whole: Whole | None = None
    ) -> tuple[Any, ...]:
        """What `replica_step` gives on each replica."""

        def as_the_model_takes_it(share: Share) -> Any:
            features = tf.cast(share.examples.features, self._model.inputs[0].dtype)
            return replica_step(share._replace(examples=share.examples._replace(features=features)))

        return run_on_shares(self._strategy, as_the_model_takes_it, examples, self._stand_in, whole)

    def _pass_function(self, batches: Batches, rows: int) -> Callable[..., tf.Tensor]:
        """`_pass` in the graph for batches of `rows` examples; validation and test share it."""
        kinds = batches.examples.map(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype))
        signature = (*kinds.tensors(), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32))
        key = (rows, kinds)
        if key not in self._pass_functions:
            self._pass_functions[key] = tf.function(
                partial(self._pass, rows, kinds), autograph=False, input_signature=signature
            )
        return self._pass_functions[key]

    def _pass(self, rows: int, kinds: Examples, *tensors: tf.Tensor) -> tf.Tensor:
        *data, begin, end = tensors
        rest = iter(data)
        all_examples = kinds.map(lambda _: next(rest))

        def go_on(position: tf.Tensor) -> tf.Tensor:
            return tf.logical_and(position < end, tf.logical_not(self._interrupt.pending))

        def batch(position: tf.Tensor) -> tf.Tensor:
            examples = in_order(all_examples, position * self._data.size, rows)
            self._run_on_shares(self._evaluation_step, examples)
            self._evaluated.assign_add(1)
            return position + 1

        return tf.while_loop(go_on, batch, [begin])[0]


def _sum_up(parts: Sequence[Part], add: Callable[[tf.Tensor, int, Any], Any], totals: Any) -> Any:
    """`totals = add(offset, size, totals)` for all parts of a batch, one after the other, in the graph."""
    for part in parts:

        def go_on(index: tf.Tensor, totals: Any, part: Part = part) -> tf.Tensor:
            return index < part.times

        def once(index: tf.Tensor, totals: Any, part: Part = part) -> tuple[tf.Tensor, Any]:
            return index + 1, add(part.first + index * part.size, part.size, totals)

        # Several at a time would take the memory of several.
        _, totals = tf.while_loop(go_on, once, (tf.constant(0), totals), parallel_iterations=1)
    return totals
