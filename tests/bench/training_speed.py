"""How fast the training loop is, as ratios to others on the same machine in the same minutes.

    .venv/bin/python -m tests.bench.training_speed [--rounds 15] [--only small-1]

Trains the small and the convolutional model of `examples/` on Fashion-MNIST, on one and on two replicas. A round pairs
this loop with each of the others, one right after the other, each in a process of its own: what else the machine does
hits both sides. Ends with 1 when a median misses its target.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from tests.bench import contenders
from tests.bench.contenders import Work

MODULE = "tests.bench.training_speed"


@dataclass(frozen=True)
class Case:
    """One model on some replicas, and what the ratio (their time a step over ours) must reach for each contender."""

    work: Work
    targets: dict[str, float]


SMALL, CONVOLUTIONAL = "fashion_mnist_lower_upper", "fashion_mnist_three_optimizers"
CASES = {
    "small-1": Case(Work(SMALL, 1, 1024), {"constant": 0.92, "fit": 1.5, "orbit": 1.0, "plain": 6.0}),
    "small-2": Case(Work(SMALL, 2, 1024), {"constant": 0.92, "fit": 1.5, "orbit": 1.0}),
    "convolutional-1": Case(Work(CONVOLUTIONAL, 1, 192), {"constant": 0.95, "fit": 1.0, "orbit": 1.0}),
    "convolutional-2": Case(Work(CONVOLUTIONAL, 2, 192), {"constant": 0.95, "fit": 1.0, "orbit": 1.0}),
    "two Adams": Case(Work(SMALL, 1, 1024, optimizer="Adam"), {"keras_update": 1.2}),
}
NAMES = {
    "constant": "the same loop fed one constant batch",
    "fit": "Keras fit, MultiOptimizer, best steps_per_execution",
    "orbit": "Orbit, one gradient, two or three optimizers",
    "plain": "hand-written loop, one tf.function call a step",
    "keras_update": "the same loop with Keras's own update",
}


def main() -> int:
    """Runs the rounds of every case and prints a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(*arguments.contender)
        return 0
    missed = False
    for name in [arguments.only] if arguments.only else CASES:
        missed |= report(name, measure(name, arguments.rounds))
    return int(missed)


def measure(case: str, rounds: int) -> dict[str, np.ndarray]:
    """Microseconds a step by contender: rows of [ours, theirs], one a round, taken one right after the other."""
    names = CASES[case].targets
    workers = {name: Worker(case, name) for name in ("ours", *names)}
    try:
        for worker in workers.values():
            worker.microseconds_per_step()  # warms up
        pairs: dict[str, list[list[float]]] = {name: [] for name in names}
        for number in range(rounds):
            for name, taken in pairs.items():
                taken.append([workers[one].microseconds_per_step() for one in ("ours", name)])
            shown = "  ".join(f"{name} {taken[-1][1]:,.0f} to {taken[-1][0]:,.0f}" for name, taken in pairs.items())
            print(f"{case}, round {number + 1:2} of {rounds}, us a step: {shown}", flush=True)
    finally:
        for worker in workers.values():
            worker.close()
    return {name: np.array(taken) for name, taken in pairs.items()}


def report(case: str, pairs: dict[str, np.ndarray]) -> bool:
    """Prints medians and ratios; returns whether a target is missed."""
    missed = False
    print(f"\n{case + ': this loop against':<52}{'us a step':>18}{'ratio':>8}{'95 % interval':>17}{'target':>8}")
    for name, target in CASES[case].targets.items():
        mine, theirs = np.median(pairs[name], axis=0)
        ratios = pairs[name][:, 1] / pairs[name][:, 0]
        low, high = interval_of_median(ratios)
        median = float(np.median(ratios))
        missed |= median < target
        sides, interval = f"{mine:,.0f} : {theirs:,.0f}", f"{low:.2f} to {high:.2f}"
        verdict = "" if median >= target else "   MISSED"
        print(f"{NAMES[name]:<52}{sides:>18}{median:>8.2f}{interval:>17}{target:>8.2f}{verdict}")
    print(flush=True)
    return missed


def interval_of_median(values: np.ndarray, resamples: int = 10_000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    draws = np.random.default_rng(0).choice(values, (resamples, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


class Worker:
    """One contender in its process; does nothing between two measurements."""

    def __init__(self, case: str, name: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--contender", case, name],
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


def serve(case: str, name: str) -> None:
    """A worker's side: trains one stretch for each line of its input."""
    timed = getattr(contenders, name)(CASES[case].work)
    for _ in sys.stdin:
        print("result", 1e6 * timed(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
