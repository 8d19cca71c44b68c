"""How fast the training loop is, as ratios to three others on the same machine in the same minutes.

    .venv/bin/python tests/bench/training_speed.py [--rounds 15]

Each contender trains the model of `examples/fashion_mnist_lower_upper.yaml` on Fashion-MNIST, batches of 32, in a
process of its own with the threads it would have by itself. A round pairs this loop with each of the others, one right
after the other, so that what else the machine does hits both sides. Ends with 1 when a median misses its target.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 32
EXAMPLES = 55_000
# What a ratio (their time for a step over ours) must reach at least, and what the contender is.
CONTENDERS = {
    "constant": (0.9, "the same loop fed one constant batch"),
    "fit": (1.5, "Keras fit, MultiOptimizer, steps_per_execution=32"),
    "plain": (6.0, "hand-written loop, one tf.function call a step"),
}


def main() -> int:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--contender", choices=["ours", *CONTENDERS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(globals()[arguments.contender]())
        return 0
    return report(measure(arguments.rounds))


def measure(rounds: int) -> dict[str, np.ndarray]:
    """Microseconds a step by contender: rows of [ours, theirs], one a round, taken one right after the other."""
    workers = {name: Worker(name) for name in ("ours", *CONTENDERS)}
    try:
        for worker in workers.values():
            worker.microseconds_per_step()  # warms up
        pairs: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
        for number in range(rounds):
            for name, taken in pairs.items():
                taken.append([workers[one].microseconds_per_step() for one in ("ours", name)])
            shown = "  ".join(f"{name} {taken[-1][1]:,.0f} to {taken[-1][0]:,.0f}" for name, taken in pairs.items())
            print(f"round {number + 1:2} of {rounds}, us a step: {shown}", flush=True)
    finally:
        for worker in workers.values():
            worker.close()
    return {name: np.array(taken) for name, taken in pairs.items()}


def report(pairs: dict[str, np.ndarray]) -> int:
    """Prints medians and ratios; returns 1 when a target is missed."""
    missed = False
    print(f"\n{'this loop against':<52}{'us a step':>18}{'ratio':>8}{'95 % interval':>17}{'target':>8}")
    for name, (target, what) in CONTENDERS.items():
        mine, theirs = np.median(pairs[name], axis=0)
        ratios = pairs[name][:, 1] / pairs[name][:, 0]
        low, high = interval_of_median(ratios)
        median = float(np.median(ratios))
        missed |= median < target
        sides, interval = f"{mine:,.0f} : {theirs:,.0f}", f"{low:.2f} to {high:.2f}"
        verdict = "" if median >= target else "   MISSED"
        print(f"{what:<52}{sides:>18}{median:>8.2f}{interval:>17}{target:>8.1f}{verdict}")
    return int(missed)


def interval_of_median(values: np.ndarray, resamples: int = 10_000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    draws = np.random.default_rng(0).choice(values, (resamples, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


class Worker:
    """One contender in its process; does nothing between two measurements."""

    def __init__(self, name: str):
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--contender", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
            text=True,
        )

    def microseconds_per_step(self) -> float:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("result "):
                return float(line.split()[1])
        raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(timed: Callable[[], float]) -> None:
    for _ in sys.stdin:
        print("result", 1e6 * timed(), flush=True)


def data() -> Any:
    from gradloom.trainer.datasets import load
    from gradloom.v1 import spec_pb2

    source = spec_pb2.DataSource(builtin=spec_pb2.BuiltinData(name="fashion_mnist", split="train"))
    source.range.to = EXAMPLES
    return load(source, "spec.data.train", [], [])


def network() -> Any:
    import keras

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(100, activation="relu", name="lower"),
            keras.layers.Dense(10, activation="softmax", name="upper"),
        ],
        name="model",
    )


def ours(kind: str = "Training") -> Callable[[], float]:
    from gradloom.trainer import strategy

    strategy.configure(strategy.CPU, 1)
    distribution = strategy.make_strategy(strategy.CPU, 1)

    import keras

    from gradloom.trainer.groups import Group
    from gradloom.v1 import spec_pb2

    with distribution.scope():
        model = network()
        groups = (
            Group("lower", tuple(model.get_layer("lower").trainable_variables), keras.optimizers.SGD(1e-4)),
            Group("upper", tuple(model.get_layer("upper").trainable_variables), keras.optimizers.Nadam(1e-3)),
        )
        loss = keras.losses.SparseCategoricalCrossentropy()
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    options = spec_pb2.TrainingSpec(global_batch_size=BATCH, seed=42)
    training = loops()[kind](model, loss, metrics, groups, options, data(), None, distribution)
    epoch = 0

    def timed() -> float:
        nonlocal epoch
        epoch += 1
        begin = time.perf_counter()
        training.run_epoch(epoch)
        return (time.perf_counter() - begin) / training.steps_per_epoch

    return timed


def loops() -> dict[str, Any]:
    from gradloom.trainer.loop import Training
    from gradloom.trainer.program import Program

    class ConstantProgram(Program):
        """Trains on the same examples in every step: what sampling costs is missing."""

        def _batch(self, order: Any, begin: Any, rows: int) -> Any:
            return self._data.first(rows)

    class ConstantBatch(Training):
        program_class = ConstantProgram

    return {"Training": Training, "ConstantBatch": ConstantBatch}


def constant() -> Callable[[], float]:
    return ours("ConstantBatch")


def fit() -> Callable[[], float]:
    import keras

    class Clock(keras.callbacks.Callback):
        """Leaves out what fit does before the first and after the last batches."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.seen: list[tuple[int, float]] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append((batch, time.perf_counter()))

    model = network()
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.Nadam(1e-3))
    optimizers[".*lower/.*"] = keras.optimizers.SGD(1e-4)
    model.compile(
        optimizer=keras.optimizers.MultiOptimizer(optimizers),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=32,
    )
    arrays, clock = data(), Clock()

    def timed() -> float:
        model.fit(arrays.features, arrays.labels, batch_size=BATCH, verbose=0, callbacks=[clock])
        (first, begin), (last, end) = clock.seen[0], clock.seen[-2]
        return (end - begin) / (last - first)

    return timed


def plain(steps: int = 300) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    model = network()
    optimizers = [keras.optimizers.SGD(1e-4), keras.optimizers.Nadam(1e-3)]
    parts = [model.get_layer(name).trainable_variables for name in ("lower", "upper")]
    for optimizer, variables in zip(optimizers, parts, strict=True):
        optimizer.build(variables)
    loss_function = keras.losses.SparseCategoricalCrossentropy()
    mean, accuracy = keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy()
    arrays, chance = data(), np.random.default_rng(42)

    @tf.function
    def train_step(features: Any, labels: Any) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(features, training=True)
            loss = tf.add_n([loss_function(labels, outputs), *model.losses])
        for optimizer, variables in zip(optimizers, parts, strict=True):
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, outputs

    def timed() -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            rows = chance.integers(len(arrays), size=BATCH)
            labels = tf.constant(arrays.labels[rows])
            loss, outputs = train_step(tf.constant(arrays.features[rows], tf.float32), labels)
            mean.update_state(loss)
            accuracy.update_state(labels, outputs)
        return (time.perf_counter() - begin) / steps

    return timed


if __name__ == "__main__":
    sys.exit(main())
