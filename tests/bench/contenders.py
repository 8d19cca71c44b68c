"""The training loops that `training_speed` compares: each trains one short stretch of steps at a time, in its process.

A contender is made for its work, with the threads that its library would choose by itself, and
returns a function that trains for a stretch and gives the seconds a step took.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Timed = Callable[[], float]

EXAMPLES = Path(__file__).parents[2] / "examples"
ORBIT = Path(__file__).parents[2] / ".venv-bench"


@dataclass(frozen=True)
class Work:
    """What is trained: a job of `examples/`, on so many replicas, so many steps a stretch."""

    example: str
    replicas: int
    steps: int
    optimizer: str = ""
    """In place of every group's own."""
    scalars_every_steps: int = 0

    def spec(self) -> Any:
        """The example's spec, with defaults."""
        from gradloom.documents import read_job
        from gradloom.spec import with_defaults

        spec = with_defaults(read_job((EXAMPLES / f"{self.example}.yaml").read_text()).spec, seed=42)
        for group in spec.variable_groups if self.optimizer else ():
            group.optimizer.type = self.optimizer
        spec.training.steps_per_epoch = self.steps
        if self.scalars_every_steps:
            spec.training.scalars_every_steps = self.scalars_every_steps
        return spec


def arrays(spec: Any) -> Any:
    from gradloom.trainer.datasets import load

    return load(spec.data.train, "spec.data.train", [], [])


def training_of(work: Work, kind: type | None = None, fused: bool = True) -> Any:
    """Gradloom's Training, or one of a `kind` of it; `fused` with TensorFlow's kernels where there are some."""
    from gradloom.trainer import cpu_threads, models, strategy
    from gradloom.trainer.groups import build_groups
    from gradloom.trainer.loop import Training

    spec = work.spec()
    strategy.configure(strategy.CPU, work.replicas, cpu_threads.choose_threads(spec, strategy.CPU, work.replicas))
    distribution = strategy.make_strategy(strategy.CPU, work.replicas)
    with distribution.scope():
        model = models.build_model(spec)
        groups = build_groups(spec, model, assignment(spec, model))
        targets = models.build_targets(spec)
    for group in groups if not fused else ():
        group.update = group.optimizer.apply
    return (kind or Training)(model, targets, groups, spec.training, arrays(spec), None, distribution)


def ours(work: Work, kind: type | None = None, fused: bool = True) -> Timed:
    """Gradloom's loop."""
    training = training_of(work, kind, fused)

    def timed() -> float:
        begin = time.perf_counter()
        training.run_epoch(training.place.epoch)
        return (time.perf_counter() - begin) / work.steps

    return timed


def assignment(spec: Any, model: Any) -> Any:
    from gradloom.spec import assign_groups
    from gradloom.trainer import models

    paths = [path for path, variable in models.variable_paths(model) if variable.trainable]
    return assign_groups(paths, spec.variable_groups)


def constant(work: Work) -> Timed:
    """Gradloom's loop fed one constant batch: the limit."""
    from gradloom.trainer.loop import Training
    from gradloom.trainer.program import Program

    class ConstantProgram(Program):
        """Trains on the same examples in every step: what sampling costs is missing."""

        def _batch(self, order: Any, begin: Any, rows: int) -> Any:
            return self._data.first(rows)

    class ConstantBatch(Training):
        program_class = ConstantProgram

    return ours(work, ConstantBatch)


def peer(work: Work) -> tuple[Any, Any, Any, Any, list[tuple[Any, list[Any]]]]:
    """What the other loops train: spec, strategy, model, loss, and each optimizer with its variables."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(work.replicas)]
    )
    if work.replicas == 1:
        distribution = tf.distribute.get_strategy()
    else:
        distribution = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(work.replicas)])

    from gradloom.trainer import models

    spec = work.spec()
    with distribution.scope():
        model = models.build_model(spec)
        groups = assignment(spec, model)
        parts = []
        for index, group in enumerate(spec.variable_groups):
            variables = [one for path, one in models.variable_paths(model) if groups.get(path) == group.name]
            parts.append((models.build_optimizer(group, f"spec.variable_groups[{index}]"), variables))
        (target,) = models.build_targets(spec)
    return spec, distribution, model, target, parts


def fit(work: Work) -> Timed:
    """Keras fit with MultiOptimizer, at the best of several steps_per_execution."""
    import keras
    import tensorflow as tf

    spec, distribution, model, target, parts = peer(work)
    data = arrays(spec)
    batch = spec.training.global_batch_size
    rows = work.steps * batch

    class Clock(keras.callbacks.Callback):
        """Leaves out what fit does before the first and after the last batches."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.seen: list[tuple[int, float]] = []

        def on_train_batch_end(self, number: int, logs: Any = None) -> None:
            self.seen.append((number, time.perf_counter()))

    clock = Clock()

    def timed() -> float:
        model.fit(data.features[:rows], data.labels[:rows], batch_size=batch, verbose=0, callbacks=[clock])
        (first, begin), (last, end) = clock.seen[0], clock.seen[-2]
        return (end - begin) / (last - first)

    def compile_with(steps_per_execution: int) -> None:
        with distribution.scope():
            optimizers = keras.optimizers.OptimizerMap(fresh(parts[-1][0]))
            for optimizer, variables in parts[:-1]:
                for variable in variables:
                    optimizers[variable.path] = optimizer_of(optimizer)
            model.compile(
                optimizer=keras.optimizers.MultiOptimizer(optimizers),
                loss=target.loss,
                metrics=[fresh(metric) for metric in target.metrics],
                steps_per_execution=steps_per_execution,
            )

    made: dict[int, Any] = {}

    def optimizer_of(template: Any) -> Any:
        return made.setdefault(id(template), fresh(template))

    found = {}
    for candidate in (1, 8, 32, 64):
        made.clear()
        compile_with(candidate)
        # Under several replicas, fit fails with more than one step an execution.
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            timed()
            found[candidate] = timed()
    best = min(found, key=lambda candidate: found[candidate])
    made.clear()
    compile_with(best)
    return timed


def fresh(keras_object: Any) -> Any:
    return type(keras_object).from_config(keras_object.get_config())


def keras_update(work: Work) -> Timed:
    """Gradloom's loop without TensorFlow's fused kernels."""
    return ours(work, fused=False)


def orbit(work: Work) -> Timed:
    """Orbit's StandardTrainer with a step that takes the gradient once and applies each optimizer to its part."""
    sys.path[1:1] = [str(path) for path in ORBIT.glob("lib/python3*/site-packages")]
    import tensorflow as tf
    from orbit import StandardTrainer

    spec, distribution, model, target, parts = peer(work)
    batch = spec.training.global_batch_size
    data = arrays(spec)
    examples = tf.data.Dataset.from_tensor_slices((data.features, data.labels))
    examples = examples.shuffle(len(data), seed=42).repeat().batch(batch, drop_remainder=True)
    variables = [variable for _, own in parts for variable in own]
    with distribution.scope():
        for optimizer, own in parts:
            optimizer.build(own)
        mean = tf.Variable(
            0.0, synchronization=tf.VariableSynchronization.ON_READ, aggregation=tf.VariableAggregation.SUM
        )

    def replica_step(inputs: tuple[Any, Any]) -> None:
        features, labels = inputs
        with tf.GradientTape() as tape:
            outputs = model(tf.cast(features, model.inputs[0].dtype), training=True)
            loss = tf.reduce_sum(target.loss.call(labels, outputs)) / batch
        gradients = iter(tape.gradient(loss, [variable.value for variable in variables]))
        for optimizer, own in parts:
            optimizer.apply([next(gradients) for _ in own], own)
        mean.assign_add(loss)
        for metric in target.metrics:
            metric.update_state(labels, outputs)

    class Trainer(StandardTrainer):  # type: ignore[misc]
        def train_loop_begin(self) -> None:
            mean.assign(0.0)
            for metric in target.metrics:
                metric.reset_state()

        def train_step(self, iterator: Any) -> None:
            distribution.run(replica_step, args=(next(iterator),))

        def train_loop_end(self) -> dict[str, float]:
            scalars = {"loss": float(mean.read_value()) / work.steps}
            return scalars | {metric.name: float(metric.result()) for metric in target.metrics}

    trainer = Trainer(distribution.experimental_distribute_dataset(examples.prefetch(tf.data.AUTOTUNE)))

    def timed() -> float:
        begin = time.perf_counter()
        trainer.train(tf.constant(work.steps))
        return (time.perf_counter() - begin) / work.steps

    return timed


def plain(work: Work) -> Timed:
    """A hand-written loop: one tf.function call a step, one gradient call for each optimizer."""
    import keras
    import numpy as np
    import tensorflow as tf

    spec, _, model, target, parts = peer(work)
    for optimizer, own in parts:
        optimizer.build(own)
    mean = keras.metrics.Mean()
    data, chance = arrays(spec), np.random.default_rng(42)

    @tf.function
    def train_step(features: Any, labels: Any) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(features, training=True)
            loss = tf.add_n([target.loss(labels, outputs), *model.losses])
        for optimizer, own in parts:
            optimizer.apply_gradients(zip(tape.gradient(loss, own), own, strict=True))
        return loss, outputs

    def timed() -> float:
        few = min(work.steps, 300)
        begin = time.perf_counter()
        for _ in range(few):
            rows = chance.integers(len(data), size=spec.training.global_batch_size)
            labels = tf.constant(data.labels[rows])
            loss, outputs = train_step(tf.constant(data.features[rows], tf.float32), labels)
            mean.update_state(loss)
            for metric in target.metrics:
                metric.update_state(labels, outputs)
        return (time.perf_counter() - begin) / few

    return timed


def orbit_is_there() -> bool:
    """Whether `make bench` has made Orbit's environment."""
    return os.path.isdir(ORBIT)
