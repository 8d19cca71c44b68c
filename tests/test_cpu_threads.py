"""How many threads a training gets on the CPU, and that finding out starts nothing and changes nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradloom.documents import read_job
from gradloom.spec import with_defaults
from gradloom.trainer import models
from gradloom.trainer.cpu_threads import choose_threads, multiply_adds, usable_cores
from gradloom.trainer.strategy import CPU, GPU, Threads
from tests.specs import SOUND, changed

EXAMPLES = Path(__file__).parents[1] / "examples"
CONVOLUTIONAL, SMALL = (EXAMPLES / f"fashion_mnist_{name}.yaml" for name in ("three_optimizers", "lower_upper"))


def spec_of(path):
    return with_defaults(read_job(path.read_text()).spec, seed=1)


def test_the_multiplications_of_an_example_are_those_counted_by_hand():
    assert multiply_adds(spec_of(SMALL)) == 784 * 100 + 100 * 10
    lower = 26 * 26 * 9 * 1 * 32 + 11 * 11 * 9 * 32 * 64
    assert multiply_adds(spec_of(CONVOLUTIONAL)) == lower + 5 * 5 * 64 * 128 + 128 * 10


@pytest.mark.parametrize(
    ("path", "kind", "replicas", "cores", "threads"),
    [
        (SMALL, CPU, 1, 16, Threads(1, 1)),
        (SMALL, CPU, 4, 16, Threads(1, 4)),
        (CONVOLUTIONAL, CPU, 1, 16, Threads(16, 2)),
        (CONVOLUTIONAL, CPU, 2, 16, Threads(8, 2)),
        (CONVOLUTIONAL, CPU, 2, 2, Threads(1, 2)),
        # 4 examples a replica are little work.
        (CONVOLUTIONAL, CPU, 8, 16, Threads(1, 8)),
        (CONVOLUTIONAL, GPU, 1, 16, Threads(0, 0)),
    ],
)
def test_the_cores_are_shared_inside_the_operations_of_large_models_alone(path, kind, replicas, cores, threads):
    assert choose_threads(spec_of(path), kind, replicas, cores=cores) == threads


def test_a_process_uses_no_more_cores_than_it_may():
    alone = f"import os; os.sched_setaffinity(0, [{min(__import__('os').sched_getaffinity(0))}]);"
    code = "from gradloom.trainer.cpu_threads import usable_cores; print(usable_cores())"
    told = subprocess.run([sys.executable, "-c", alone + code], capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"
    assert usable_cores() >= 1


def test_finding_out_starts_nothing_of_tensorflow():
    code = (
        "import sys; from tests.test_cpu_threads import *; from gradloom.trainer import strategy\n"
        "assert multiply_adds(spec_of(CONVOLUTIONAL)) > 0\n"
        "strategy.configure(CPU, 3, Threads(2, 3)); print(len(strategy.make_strategy(CPU, 3).extended.worker_devices))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout == "3\n", told.stderr


def test_the_model_is_the_same_whether_it_was_looked_at_before_or_not():
    spec = spec_of(CONVOLUTIONAL)
    alone = models.build_model(spec)
    multiply_adds(spec)
    after = models.build_model(spec)
    assert [variable.path for variable in after.variables] == [variable.path for variable in alone.variables]
    for one, other in zip(alone.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_keras_refuses_counts_for_nothing_here():
    assert multiply_adds(changed("spec.model.layers", [SOUND["spec"]["model"]["layers"][-1]]).spec) == 0
