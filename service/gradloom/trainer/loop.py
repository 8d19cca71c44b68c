"""The training loop of one attempt: when steps run, and what can be seen of them meanwhile.

    strategy.configure(device_kind, replicas)                        # first of all; see strategy.py
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

Steps run in the graph, as many as there are until the epoch's end, `steps_per_loop` or somebody's interrupt; whole data
sets in memory are sampled in the graph. Data order follows from (seed, pass over the data) alone; a pass goes on across
epochs that are shorter or longer. `state` and `restore` carry a training over to another process between any two steps.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Final, Self

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer import jit, models
from gradloom.trainer.batches import Batches, Examples, permutation
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.directions import Direction
from gradloom.trainer.fitness import build_metrics, check_class_weights, check_fit, check_model
from gradloom.trainer.groups import RATE_KEY, Group, averages_in_place, build_groups
from gradloom.trainer.interrupt import Interrupt
from gradloom.trainer.live import GroupLook, LiveProgress
from gradloom.trainer.losses import Objective
from gradloom.trainer.normalization import synchronize_batch_normalization
from gradloom.trainer.own_state import OwnMetrics, summing_layers
from gradloom.trainer.precision import LossScale
from gradloom.trainer.program import Program
from gradloom.trainer.recording import Recording
from gradloom.trainer.saved_state import Place, SavedVariables, State, variable_key
from gradloom.trainer.step import EvaluationStep, Tally, TrainingStep
from gradloom.trainer.targets import Target, arranged, loss_names, metric_names
from gradloom.v1 import spec_pb2

VALIDATION_PREFIX: Final = "val_"
TEST_PREFIX: Final = "test_"

logger = logging.getLogger(__name__)


class Training:
    """One job's training in this process; made by `build`. `run_epoch` and `evaluate` belong to one thread.

    Attributes:
        model: Holds the current weights.
        targets: Of its outputs, in their order.
        groups: All of them, frozen ones too.
        steps_per_epoch: Updates of an epoch; those of one pass over the data, unless the spec says otherwise.
        place: Where in the work it is, between two steps.
        loss_scale: What the loss is scaled with, in float16.
        jit_compiled: Whether XLA compiles forward and backward pass; AUTO is no until `settle_jit`.
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
        self.targets = tuple(targets)
        self.groups = tuple(groups)
        self._strategy = strategy
        self._seed = options.seed
        self._outputs = [target.name for target in targets]
        self._train = Batches(train, options.global_batch_size, self._outputs)
        self._validation = None if validation is None else Batches(validation, options.global_batch_size, self._outputs)
        self.steps_per_epoch = options.steps_per_epoch if options.HasField("steps_per_epoch") else self._train.steps
        self._steps_per_loop = options.steps_per_loop if options.HasField("steps_per_loop") else self.steps_per_epoch

        replicas = strategy.num_replicas_in_sync
        trained = [variable for group in self.groups if group.optimizer for variable in group.variables]
        self._objective = Objective(model, targets, trained, replicas, options.class_weights)
        synchronized = not options.HasField("synchronized_batch_normalization") or (
            options.synchronized_batch_normalization
        )
        self.synchronized_layers = synchronize_batch_normalization(model) if synchronized and replicas > 1 else []
        self._jit_compile = options.jit_compile
        summing = summing_layers(model)
        self._reducing_layers = [*self.synchronized_layers, *(summing if replicas > 1 else ())]
        self.jit_compiled = jit.is_asked_for(options.jit_compile, self._reducing_layers)
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
        recorded = options.HasField("scalars_every_steps")
        self._recording = Recording(self._tally, options.scalars_every_steps) if recorded else None
        self._program = self.program_class(
            model,
            strategy,
            EvaluationStep(self._objective, self._tally),
            self._train,
            self._interrupt,
            stand_in=not summing,
            micro_batches=micro_batches,
            after_step=None if self._recording is None else self._recording.after_step,
        )
        self.place = Place()
        self._live = LiveProgress()
        self._training_since: float | None = None
        self._order: tuple[int, tf.Tensor] | None = None
        self._save: Callable[[], None] = lambda: None
        self._watch: Callable[[object, str], AbstractContextManager[None]] = lambda kind, what: nullcontext()
        self._save_every_steps: int | None = None
        self._saved_step = 0
        self._record: Callable[[int, int, Mapping[str, float]], None] = lambda step, epoch, scalars: None

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
            targets = arranged(models.build_targets(spec), models.output_names(model))
            groups = build_groups(spec, model, assignment)
        check_model(model, targets)
        check_fit(train, "spec.data.train", model, targets)
        check_class_weights(spec.training.class_weights, train, "spec.data.train", model, targets)
        if validation is not None:
            check_fit(validation, "spec.data.validation", model, targets)
        build_metrics(train, model, targets, strategy)
        return cls(model, targets, groups, spec.training, train, validation, strategy)

    def _step_of(self, epoch: int) -> TrainingStep:
        groups = tuple(group for group in self.groups if group.is_trained(epoch))
        if groups not in self._steps:
            self._steps[groups] = self._make_step(groups, self.jit_compiled)
        return self._steps[groups]

    def _make_step(self, groups: tuple[Group, ...], compiled: bool) -> TrainingStep:
        return TrainingStep(self._objective, groups, self._clip_norm, self._tally, self.loss_scale, compiled)

    def settle_jit(self, decided: bool | None) -> None:
        """Settles what AUTO means before the first step: as an earlier attempt decided, else by measuring both ways."""
        if self._jit_compile != spec_pb2.TrainingSpec.AUTO:
            return
        if self._reducing_layers:
            layers = ", ".join(self._reducing_layers)
            logger.info("jit_compile AUTO: not compiled, because these layers reduce over the replicas: %s", layers)
            return
        if decided is None:
            groups, order, full = self._step.groups, self._order_of(0), self._train.full
            variables = self._variables()
            state = variables.read()

            def train(step: TrainingStep, steps: int) -> int:
                return self._program.train(step, order, 0, min(steps, full))

            try:
                decided = full > 0 and jit.is_faster(train, *(self._make_step(groups, way) for way in (False, True)))
            finally:
                variables.restore(state)
        self.jit_compiled = decided
        self._steps.clear()
        self._step = self._step_of(1)

    def _examples_to_try(self) -> Examples:
        rows = np.arange(min(max(self._train.size, 3), 64)) % self._train.count
        examples = self._train.first(len(rows)).map(lambda tensor: tf.gather(tensor, rows))
        return examples._replace(features=tf.cast(examples.features, self.model.inputs[0].dtype))

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Trains what is left of the epoch in work and evaluates the validation data, if any.

        Returns the means over the epoch, such as `loss`, and those of the validation, such as `val_loss`.

        Args:
            epoch: The one in work, from 1; they are trained one after the other.

        Raises:
            StopRequested: As asked.
            NotFiniteError: The loss or a gradient was not finite in a step, which was the last one.
        """
        if epoch != self.place.epoch:
            raise ValueError(f"epoch {self.place.epoch} is the one in work, not {epoch}")
        self._show(epoch=epoch)
        if not self.place.evaluation:
            scalars = self._train_epoch(epoch)
            self._show(scalars=scalars)
            self.place = replace(self.place, scalars=scalars)
        scalars = dict(self.place.scalars)
        if self._validation is not None:
            scalars |= self._evaluate(self._validation, VALIDATION_PREFIX)
            self._show(scalars=scalars)
        self.place = Place(epoch + 1)
        return scalars

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Trains what is left of an epoch; returns the means over all of it."""
        begin, end = (epoch - 1) * self.steps_per_epoch, epoch * self.steps_per_epoch
        self._step = self._step_of(epoch)
        if self.global_step == begin:
            self._tally.reset()
        self._training_since = time.monotonic()
        try:
            while (step := self.global_step) < end:
                # The last step of an epoch is looked at, so that a short job is not left without numbers; so is the
                # very first one.
                wanted = self._pause()
                look = wanted or self._live.first_step_time is None or step == end - 1
                weights = self._step.weights() if look else None
                try:
                    self._advance(step, step + 1 if look else end - 1)
                finally:
                    # Before the next checkpoint: whoever goes on from that does not record them.
                    self._record_since(step, epoch, begin)
                if weights is not None and self.global_step > step:
                    self._look(weights, begin)
        finally:
            self._show(training_seconds=self._training_seconds())
            self._training_since = None
        return self._scalars_since(begin)

    def _scalars_since(self, begin: int) -> dict[str, float]:
        """The means over the steps since step `begin`, where the epoch began."""
        return self._tally.scalars(self._examples(self.global_step) - self._examples(begin))

    def _record_since(self, step: int, epoch: int, begin: int) -> None:
        """Tells what was recorded after a step of an epoch that began after step `begin`."""
        if self._recording is not None:
            for recorded, measured in self._recording.between(step, self.global_step):
                scalars = self._tally.named(measured, self._examples(recorded) - self._examples(begin))
                self._record(recorded, epoch, scalars)

    def _advance(self, step: int, end: int) -> None:
        """Trains from `step` towards `end`, as far as goes at once: the batches of one pass have one size and order."""
        number, position = divmod(step, self._train.steps)
        order = self._order_of(number)
        if position == self._train.full:
            with self._watch((self._step, "rest"), f"step {step + 1}, or one soon after it,"):
                self._program.train_rest(self._step, order)
            return
        ends = [end, step + self._steps_per_loop, step - position + self._train.full]
        if self._save_every_steps is not None:
            ends.append(step - step % self._save_every_steps + self._save_every_steps)
        if self._recording is not None:
            ends.append(step + self._recording.most_points * self._recording.every_steps)
        with self._watch(self._step, f"step {step + 1}, or one soon after it,"):
            self._program.train(self._step, order, position, position + min(ends) - step)

    def _order_of(self, number: int) -> tf.Tensor:
        """The order of the examples in a pass, counted from 0."""
        if self._order is None or self._order[0] != number:
            self._order = number, permutation(self._train.count, self._seed, tf.constant(number + 1))
        return self._order[1]

    def _pause(self) -> bool:
        """Between two steps: ends as asked, saves when it is time to, and returns whether a look is wanted."""
        wanted = self._interrupt.check()
        step, every = self.global_step, self._save_every_steps
        due = every is not None and step > self._saved_step and step % every == 0
        if wanted.checkpoint or due:
            self._saved_step = step
            self._save()
        return wanted.look

    def directions(self) -> dict[str, Direction | None]:
        """Which way each scalar of an epoch's end improves, by name; None where nobody can tell."""
        found = self._tally.directions()
        validated = found if self._validation is not None else {}
        return found | {f"{VALIDATION_PREFIX}{name}": direction for name, direction in validated.items()}

    def save_with(self, save: Callable[[], None], every_steps: int | None) -> None:
        """From now on calls `save`, which may ask for `state`, every so many steps and when one was asked for."""
        self._save, self._save_every_steps = save, every_steps

    def record_with(self, record: Callable[[int, int, Mapping[str, float]], None]) -> None:
        """From now on gives `record` every n-th step, as the options say, with its epoch and the epoch's scalars then.

        The steps come in order, each before a checkpoint of it or of a later one; which ones, and what is given, does
        not depend on when anybody looks or saves.
        """
        self._record = record

    def watch_with(self, watch: Callable[[object, str], AbstractContextManager[None]]) -> None:
        """From now on runs batches within what `watch` gives for their kind and what they are."""
        self._watch = watch

    def batches(self) -> int:
        """How many batches have been trained on or evaluated in this process; from any thread."""
        return self._program.batches()

    def request_checkpoint(self) -> None:
        """Has a checkpoint saved between two steps, within a few milliseconds; from any thread."""
        self._interrupt.request_checkpoint()

    def state(self) -> State:
        """A copy of all state, between two steps."""
        arrays = self._variables().read()
        return State(arrays, self.place, dict(self._live.scalars), self.global_step, self._averaged())

    def restore(
        self,
        arrays: Mapping[str, np.ndarray],
        place: Place,
        scalars: Mapping[str, float],
        new_rates: Collection[str] = (),
    ) -> None:
        """Goes on where `state` was taken; the groups of `new_rates` keep the learning rates that they have.

        Raises:
            ForeignCheckpoint: The arrays are not those of this training's variables; nothing was changed.
        """
        own_rates = {f"group/{name}/{RATE_KEY}" for name in new_rates}
        self._variables(without=own_rates).restore(
            {key: array for key, array in arrays.items() if variable_key(key) not in own_rates}
        )
        self.place = place
        self._saved_step = self.global_step
        self._show(epoch=math.ceil(self.global_step / self.steps_per_epoch), scalars=scalars)

    def restore_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts the model and its groups back to where a state was taken; steps and scalars stay as they are."""
        self._variables().restore(arrays, ("model/", "group/"))

    def _variables(self, without: Collection[str] = ()) -> SavedVariables:
        found: dict[str, Any] = dict(self._model_variables())
        for group in self.groups:
            found |= {f"group/{group.name}/{key}": variable for key, variable in group.saved_variables().items()}
        found |= {f"tally/{key}": variable for key, variable in self._tally.saved_variables().items()}
        if self.loss_scale is not None:
            found |= {f"loss_scale/{key}": variable for key, variable in self.loss_scale.saved_variables().items()}
        found["global_step"] = self._program.global_step
        return SavedVariables(self._strategy, {key: found[key] for key in found if key not in without})

    def _averaged(self) -> dict[str, dict[str, float]]:
        """The averages that would be exported, by the key of the weight whose place they take: factors by key."""
        keys = {id(variable): key for key, variable in self._model_variables().items()}
        averaged = {}
        for group in self.groups:
            sums = group.averages_as_saved()
            for variable, terms in zip(group.variables if sums else (), sums, strict=True):
                key = keys[id(variable)]
                averaged[key] = {f"group/{group.name}/{term}" if term else key: terms[term] for term in terms}
        return averaged

    def _model_variables(self) -> dict[str, keras.Variable]:
        return {f"model/{index}/{path}": v for index, (path, v) in enumerate(models.variable_paths(self.model))}

    @property
    def global_step(self) -> int:
        """Updates so far, over all epochs; from any thread."""
        return int(self._program.global_step)

    def _examples(self, step: int) -> int:
        """Training examples of the first `step` updates."""
        passes, within = divmod(step, self._train.steps)
        return passes * self._train.count + self._train.examples_before(within)

    def _show(self, **changes: Any) -> None:
        """Changes what `snapshot` finds; new scalars join those that are there."""
        if "scalars" in changes:
            changes["scalars"] = {**self._live.scalars, **changes["scalars"]}
        self._live = replace(self._live, **changes)

    def _look(self, before: Sequence[tf.Tensor], begin: int) -> None:
        """Puts the results since step `begin`, and what the step since `before` did, where `snapshot` finds them."""
        first_step_time = self._live.first_step_time or time.monotonic()
        norms = self._step.gradient_norms()
        groups = {
            group.name: GroupLook(
                learning_rate=group.learning_rate(),
                gradient_norm=norms[group.name],
                update_ratio=math.sqrt(change / size) if size else None,
            )
            for group, (size, change) in zip(self._step.groups, self._step.movement(before).numpy(), strict=True)
        }
        self._show(scalars=self._scalars_since(begin), groups=groups, first_step_time=first_step_time)

    def evaluate(self, arrays: Arrays, prefix: str) -> dict[str, float]:
        """Returns the mean loss and the metrics over the examples, their names prefixed, without changing the model.

        Raises:
            StopRequested: As asked.
        """
        scalars = self._evaluate(Batches(arrays, self._train.size, self._outputs), prefix)
        self._show(scalars=scalars)
        self.place = replace(self.place, evaluation="", batch=0)
        return scalars

    def _evaluate(self, batches: Batches, prefix: str) -> dict[str, float]:
        """Evaluates what is left of an evaluation that is in work, or all of it."""
        if self.place.evaluation != prefix:
            self._tally.reset()
            self.place = replace(self.place, evaluation=prefix, batch=0)
        self._show(evaluating=True)
        try:
            while (batch := self.place.batch) < batches.steps:
                self._pause()
                full = batch < batches.full
                rows, end = (batches.size, batches.full) if full else (batches.rest, batches.steps)
                # A checkpoint, which may come before the next batch, holds the weights that are trained.
                with (
                    averages_in_place(self.groups),
                    self._watch((prefix, full), f"a batch of the evaluation {prefix!r}"),
                ):
                    reached = self._program.evaluate(batches, rows, batch, end)
                self.place = replace(self.place, batch=reached)
        finally:
            self._show(evaluating=False)
        return {prefix + name: value for name, value in self._tally.scalars(batches.count).items()}

    def snapshot(self) -> LiveProgress:
        """What can be seen now, from any thread; asks the loop for a look, whose results the next snapshot holds."""
        live = self._live
        if not live.evaluating:
            # An evaluation has nothing to show before its end.
            self._interrupt.request_look()
        step = self.global_step
        return replace(
            live,
            global_step=step,
            examples=self._examples(step),
            training_seconds=self._training_seconds(),
        )

    def _training_seconds(self) -> float:
        since = self._training_since
        return self._live.training_seconds + (time.monotonic() - since if since is not None else 0.0)

    def request_stop(self) -> None:
        """Ends the work within a few milliseconds with StopRequested; from any thread."""
        self._interrupt.request_stop()
