"""What runs in the graph: many steps on batches of data in memory, until the end or somebody's interrupt.

`Program` composes the steps in replica context (`step.py`) with the sampling of batches (`batches.py`); the loop
(`loop.py`) owns when it runs. Everything here runs in cross-replica context.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from gradloom.trainer.batches import Batches, Examples, Share, gather, in_order, run_on_shares
from gradloom.trainer.interrupt import Interrupt
from gradloom.trainer.step import EvaluationStep, TrainingStep


class Program:
    """The traced functions of one training.

    Args:
        model: Says what type its input has.
        strategy: Whose replicas share each batch.
        step: Trains on a share.
        evaluation_step: Evaluates a share.
        train: What is trained on.
        interrupt: Ends a run between two steps.
        stand_in: Whether a replica without rows gets one to run on.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        step: TrainingStep,
        evaluation_step: EvaluationStep,
        train: Batches,
        interrupt: Interrupt,
        stand_in: bool,
    ):
        self._model = model
        self._strategy = strategy
        self._step = step
        self._evaluation_step = evaluation_step
        self._data = train
        self._interrupt = interrupt
        self._stand_in = stand_in
        with tf.device("CPU:0"):
            self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="global_step")
        self._steps_function = tf.function(self._steps, autograph=False)
        self._rest_function = tf.function(self._rest, autograph=False)
        self._pass_functions: dict[tuple[Any, ...], Callable[..., tf.Tensor]] = {}

    def train(self, order: tf.Tensor, begin: int, end: int, look: bool) -> int:
        """Trains on full batches [begin, end) of a pass, fewer when interrupted; returns the one it came to.

        With `look`, each step keeps what the look after it tells.
        """
        return int(self._steps_function(order, tf.constant(begin), tf.constant(end), tf.constant(look)))

    def train_rest(self, order: tf.Tensor) -> None:
        """Trains on the last, smaller batch of a pass."""
        self._rest_function(order)

    def evaluate(self, batches: Batches, rows: int, begin: int, end: int) -> int:
        """Evaluates batches [begin, end) of `rows` examples, fewer when interrupted; returns the one it came to."""
        run = self._pass_function(batches, rows)
        return int(run(*batches.examples, tf.constant(begin), tf.constant(end)))

    def _steps(self, order: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, look: tf.Tensor) -> tf.Tensor:
        def go_on(position: tf.Tensor) -> tf.Tensor:
            return tf.logical_and(position < end, tf.logical_not(self._interrupt.pending))

        def step(position: tf.Tensor) -> tf.Tensor:
            self._train_batch(order, position * self._data.size, self._data.size, look)
            return position + 1

        return tf.while_loop(go_on, step, [begin])[0]

    def _rest(self, order: tf.Tensor) -> None:
        self._train_batch(order, tf.constant(self._data.full * self._data.size), self._data.rest, tf.constant(True))

    def _train_batch(self, order: tf.Tensor, begin: tf.Tensor, rows: int, look: tf.Tensor) -> None:
        self._run_on_shares(lambda share: self._step(share, look), self._batch(order, begin, rows))
        self.global_step.assign_add(1)

    def _batch(self, order: tf.Tensor, begin: tf.Tensor, rows: int) -> Examples:
        return gather(self._data.examples, order, begin, rows)

    def _run_on_shares(self, replica_step: Callable[[Share], None], examples: Examples) -> None:
        def as_the_model_takes_it(share: Share) -> None:
            features = tf.cast(share.examples.features, self._model.inputs[0].dtype)
            replica_step(share._replace(examples=share.examples._replace(features=features)))

        run_on_shares(self._strategy, as_the_model_takes_it, examples, self._stand_in)

    def _pass_function(self, batches: Batches, rows: int) -> Callable[..., tf.Tensor]:
        """`_pass` in the graph for batches of `rows` examples; validation and test share it."""
        data = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in batches.examples]
        signature = (*data, tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32))
        key = (rows, *signature)
        if key not in self._pass_functions:
            self._pass_functions[key] = tf.function(
                partial(self._pass, rows), autograph=False, input_signature=signature
            )
        return self._pass_functions[key]

    def _pass(self, rows: int, features: tf.Tensor, labels: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        def go_on(position: tf.Tensor) -> tf.Tensor:
            return tf.logical_and(position < end, tf.logical_not(self._interrupt.pending))

        def batch(position: tf.Tensor) -> tf.Tensor:
            examples = in_order(Examples(features, labels), position * self._data.size, rows)
            self._run_on_shares(self._evaluation_step, examples)
            return position + 1

        return tf.while_loop(go_on, batch, [begin])[0]
