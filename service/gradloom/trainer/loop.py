"""The training loop of one attempt: when steps run, and what can be seen of them meanwhile.

    threads = strategy.configure(device_kind, replicas)              # first of all; see strategy.py
    distribution = strategy.make_strategy(device_kind, replicas)
    keras.utils.set_random_seed(spec.training.seed)
    with distribution.scope():
        model = models.build_model(spec)
    training = Training.build(spec, model, assignment, train, validation, distribution)
    for epoch in range(1, spec.training.epochs + 1):
        scalars = training.run_epoch(epoch)                          # {"loss": ..., "accuracy": ..., "val_loss": ...}
    test = training.evaluate(arrays, prefix="test_")                 # {"test_loss": ..., "test_accuracy": ...}

Meanwhile any other thread may call `training.snapshot()` and `training.request_stop()`; the latter ends `run_epoch` or
`evaluate` with `StopRequested` between two steps, within a few milliseconds unless something is being traced. The
current weights are the model's.

Steps run in the graph, as many as there are until the epoch's end, `steps_per_loop` or somebody's look; whole data sets
in memory are sampled in the graph. Data order follows from (seed, epoch) alone.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import models
from gradloom.trainer.batches import Batches, Examples, permutation
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.fitness import check_fit, check_model
from gradloom.trainer.groups import Group, averages_in_place, build_groups, squared_norm
from gradloom.trainer.interrupt import Interrupt
from gradloom.trainer.live import GroupLook, LiveProgress
from gradloom.trainer.losses import Objective
from gradloom.trainer.normalization import synchronize_batch_normalization
from gradloom.trainer.own_state import OwnMetrics, sums_over_replicas
from gradloom.trainer.precision import LossScale
from gradloom.trainer.program import Program
from gradloom.trainer.step import EvaluationStep, Tally, TrainingStep
from gradloom.trainer.targets import Target, loss_names, metric_names
from gradloom.v1 import spec_pb2


class Training:
    """One job's training in this process; made by `build`. `run_epoch` and `evaluate` belong to one thread.

    Attributes:
        model: Holds the current weights.
        groups: All of them, frozen ones too.
        steps_per_epoch: Updates of an epoch, the last, smaller batch included.
        loss_scale: What the loss is scaled with, in float16.
        synchronized_layers: Paths of the BatchNormalization layers that were made synchronized.
        replica_dependent_layers: Paths of the layers whose random numbers depend on the number of replicas.
    """

    program_class: ClassVar[type[Program]] = Program

    def __init__(
        self,
        model: keras.Model,
        targets: Sequence[Target],
        groups: Sequence[Group],
        options: spec_pb2.TrainingSpec,
        train: Arrays,
        validation: Arrays | None,
        strategy: tf.distribute.Strategy,
    ):
        self.model = model
        self.groups = tuple(groups)
        self._seed = options.seed
        self._train = Batches(train, options.global_batch_size)
        self._validation = None if validation is None else Batches(validation, options.global_batch_size)
        self.steps_per_epoch = self._train.steps
        self._steps_per_loop = options.steps_per_loop if options.HasField("steps_per_loop") else self.steps_per_epoch

        replicas = strategy.num_replicas_in_sync
        trained = [variable for group in self.groups if group.optimizer for variable in group.variables]
        self._objective = Objective(model, targets, trained, replicas)
        synchronized = not options.HasField("synchronized_batch_normalization") or (
            options.synchronized_batch_normalization
        )
        self.synchronized_layers = synchronize_batch_normalization(model) if synchronized and replicas > 1 else []
        micro_batches = max(1, options.gradient_accumulation_steps)
        if replicas > 1 or micro_batches > 1:
            self._objective.settle_kinds(self._examples_to_try())
        self.replica_dependent_layers = self._objective.draws.dependent_layers
        with strategy.scope():
            self._tally = Tally(targets, OwnMetrics(model, [*loss_names(targets), *metric_names(targets)]))
            mixed = options.precision == spec_pb2.TrainingSpec.MIXED_FLOAT16
            self.loss_scale = LossScale() if mixed else None
        self._clip_norm = options.clip_norm if options.HasField("clip_norm") else None
        # By the groups that are trained: which ones depends on the epoch.
        self._steps: dict[tuple[Group, ...], TrainingStep] = {}
        self._step = self._step_of(1)
        self._interrupt = Interrupt()
        self._program = self.program_class(
            model,
            strategy,
            EvaluationStep(self._objective, self._tally),
            self._train,
            self._interrupt,
            stand_in=not sums_over_replicas(model),
            micro_batches=micro_batches,
        )
        self._live = LiveProgress()
        self._training_since: float | None = None

    @classmethod
    def build(
        cls,
        spec: spec_pb2.JobSpec,
        model: keras.Model,
        assignment: Mapping[str, str],
        train: Arrays,
        validation: Arrays | None,
        strategy: tf.distribute.Strategy,
    ) -> Self:
        """Builds losses, metrics and optimizers and checks that the data fit; traces nothing yet.

        Args:
            spec: With every default filled in.
            model: Built under the strategy's scope.
            assignment: For each trainable variable's path below the model's name the name of its group.
            train: Sampled anew each epoch.
            validation: Evaluated after each epoch.
            strategy: As `strategy.make_strategy` gives it.

        Raises:
            InvalidRequestError: A component refuses its config, or something in the model cannot be trained exactly.
            DataUnavailable: The data do not fit the model, the loss or a metric.
        """
        with strategy.scope():
            targets = models.build_targets(spec)
            groups = build_groups(spec, model, assignment)
        check_model(model, targets)
        check_fit(train, "spec.data.train", model, targets)
        if validation is not None:
            check_fit(validation, "spec.data.validation", model, targets)
        return cls(model, targets, groups, spec.training, train, validation, strategy)

    def _step_of(self, epoch: int) -> TrainingStep:
        groups = tuple(group for group in self.groups if group.is_trained(epoch))
        if groups not in self._steps:
            self._steps[groups] = TrainingStep(self._objective, groups, self._clip_norm, self._tally, self.loss_scale)
        return self._steps[groups]

    def _examples_to_try(self) -> Examples:
        rows = np.arange(min(max(self._train.size, 3), 64)) % self._train.count
        examples = self._train.first(len(rows)).map(lambda tensor: tf.gather(tensor, rows))
        return examples._replace(features=tf.cast(examples.features, self.model.inputs[0].dtype))

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Trains one epoch, counted from 1, and evaluates the validation data, if any.

        Returns the means over the epoch, such as `loss`, and those of the validation, such as `val_loss`.

        Raises:
            StopRequested: As asked.
            NotFiniteError: The loss or a gradient was not finite in a step, which was the last one.
        """
        self._live = replace(self._live, epoch=epoch)
        self._step = self._step_of(epoch)
        self._tally.reset()
        self._training_since = time.monotonic()
        try:
            self._train_epoch(epoch)
        finally:
            self._live = replace(self._live, training_seconds=self._training_seconds())
            self._training_since = None
        scalars = self._tally.scalars(self._train.count)
        self._live = replace(self._live, scalars={**self._live.scalars, **scalars})
        if self._validation is not None:
            with averages_in_place(self.groups):
                scalars |= self._evaluate(self._validation, "val_")
            self._live = replace(self._live, scalars={**self._live.scalars, **scalars})
        return scalars

    def _train_epoch(self, epoch: int) -> None:
        order = permutation(self._train.count, self._seed, tf.constant(epoch))
        position = 0
        while position < self._train.full:
            # The last step of an epoch is looked at, so that a short job is not left without numbers; so is the very
            # first one.
            last_full = self._train.full - 1
            wanted = self._interrupt.check()
            look = wanted or self._live.first_step_time is None or position == last_full
            end = position + 1 if look else min(position + self._steps_per_loop, last_full)
            position = self._advance(order, position, end, look)
        if self._train.rest:
            self._interrupt.check()
            weights = self._weights()
            self._program.train_rest(self._step, order)
            self._look(weights, position + 1)

    def _advance(self, order: tf.Tensor, position: int, end: int, look: bool) -> int:
        weights = self._weights() if look else None
        reached = self._program.train(self._step, order, position, end, look)
        if weights is not None and reached > position:
            self._look(weights, reached)
        return reached

    def _weights(self) -> list[list[tf.Tensor]]:
        """The trained variables by group. An update in the graph leaves a value alone that is still held here."""
        return [[tf.convert_to_tensor(variable) for variable in group.variables] for group in self._step.groups]

    def _look(self, before: Sequence[Sequence[tf.Tensor]], steps: int) -> None:
        """Puts the results so far, and what the step since `before` did, where `snapshot` finds them."""
        norms = self._step.gradient_norms()
        groups = {}
        for group, old, new in zip(self._step.groups, before, self._weights(), strict=True):
            size = float(squared_norm(old))
            change = float(squared_norm([after - earlier for after, earlier in zip(new, old, strict=True)]))
            groups[group.name] = GroupLook(
                learning_rate=group.learning_rate(),
                gradient_norm=norms[group.name],
                update_ratio=math.sqrt(change / size) if size else None,
            )
        scalars = self._tally.scalars(self._train.examples_before(steps))
        self._live = replace(
            self._live,
            scalars={**self._live.scalars, **scalars},
            groups=groups,
            first_step_time=self._live.first_step_time or time.monotonic(),
        )

    def evaluate(self, arrays: Arrays, prefix: str = "") -> dict[str, float]:
        """Returns the mean loss and the metrics over the examples, their names prefixed, without changing the model.

        Raises:
            StopRequested: As asked.
        """
        with averages_in_place(self.groups):
            scalars = self._evaluate(Batches(arrays, self._train.size), prefix)
        self._live = replace(self._live, scalars={**self._live.scalars, **scalars})
        return scalars

    def _evaluate(self, batches: Batches, prefix: str) -> dict[str, float]:
        self._live = replace(self._live, evaluating=True)
        self._tally.reset()
        try:
            for begin, end, rows in ((0, batches.full, batches.size), (batches.full, batches.steps, batches.rest)):
                position = begin
                while position < end:
                    self._interrupt.check()
                    position = self._program.evaluate(batches, rows, position, end)
        finally:
            self._live = replace(self._live, evaluating=False)
        return {prefix + name: value for name, value in self._tally.scalars(batches.count).items()}

    def snapshot(self) -> LiveProgress:
        """What can be seen now, from any thread; asks the loop for a look, whose results the next snapshot holds."""
        live = self._live
        self._interrupt.request_look()
        step = int(self._program.global_step)
        epochs, within = divmod(step, self.steps_per_epoch)
        return replace(
            live,
            global_step=step,
            examples=epochs * self._train.count + self._train.examples_before(within),
            training_seconds=self._training_seconds(),
        )

    def _training_seconds(self) -> float:
        since = self._training_since
        return self._live.training_seconds + (time.monotonic() - since if since is not None else 0.0)

    def request_stop(self) -> None:
        """Ends the work within a few milliseconds with StopRequested; from any thread."""
        self._interrupt.request_stop()
