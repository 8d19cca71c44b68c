"""Python-side state that a traced step does not see: what is found in source, and what is rightly left alone."""

import pytest
import tensorflow as tf

from gradloom.trainer.python_state import findings

MODULE = """
import datetime
import random as chance
import time
from random import choice

import keras
import numpy as np
import numpy.random
from numpy import random

SEEN = []
CALLS = 0
LIMITS = {"a": 1}


def helper(x):
    return x + np.random.normal()


def untraced(x):
    return random.uniform()


class Base(keras.layers.Layer):
    def scaled(self, x):
        self.scale += 1
        return x * self.scale


class Layer(Base):
    def __init__(self):
        super().__init__()
        self.count = 0
        self.scale = 1
        self.seen = []
        self.start = time.time()
        self.noise = np.random.normal(size=3)
        print("made")

    def build(self, input_shape):
        self.count += 1
        self.seen.append(input_shape)

    def call(self, inputs, training=False):
        {line}
        return inputs

    def other(self, x):
        self.count += 1


def loss(y_true, y_pred):
    return helper(y_pred)
"""
WEIGHT = "a weight (add_weight with trainable=False) and its assign or assign_add"
SEED = "keras.random with a keras.random.SeedGenerator of the layer"


def found(line: str, name: str = "Layer") -> list[tuple[str, str]]:
    """Text and remedy of what is found when `call` holds a line."""
    source = MODULE.replace("{line}", line)
    result = findings(source, "acme.py", [name])
    lines = source.splitlines()
    for finding in result:
        assert finding.what.split("(")[0] in lines[finding.line - 1]
        assert str(finding).startswith(f"{name}, acme.py, line {finding.line}: `")
    return [(finding.what, finding.instead) for finding in result]


@pytest.mark.parametrize(
    ("line", "what", "instead"),
    [
        ("noise = np.random.normal(size=3)", "np.random.normal(size=3)", SEED),
        ("inputs += numpy.random.default_rng().normal()", "numpy.random.default_rng()", SEED),
        ("return inputs * random.uniform()", "random.uniform()", SEED),
        ("if chance.random() < 0.5: return inputs", "chance.random()", SEED),
        ("x = [choice([1, 2]) for _ in range(3)]", "choice([1, 2])", SEED),
        ("now = time.perf_counter()", "time.perf_counter()", "tf.timestamp()"),
        ("now = datetime.datetime.now()", "datetime.datetime.now()", "tf.timestamp()"),
        ("self.count += 1", "self.count += 1", WEIGHT),
        ("self.count = self.count + 1", "self.count = self.count + 1", WEIGHT),
        ("self.seen.append(inputs.shape)", "self.seen.append(inputs.shape)", WEIGHT),
        ("SEEN.append(1)", "SEEN.append(1)", WEIGHT),
        ("LIMITS['a'] = 2", "LIMITS['a'] = 2", WEIGHT),
        ("self.table['a'] = 2", "self.table['a'] = 2", WEIGHT),
        ("global CALLS; CALLS += 1", "CALLS += 1", WEIGHT),
        ("print('step', inputs)", "print('step', inputs)", "tf.print"),
        ("f = lambda: print(1)", "print(1)", "tf.print"),
        ("return helper(inputs)", "np.random.normal()", SEED),
        ("return self.scaled(inputs)", "self.scale += 1", WEIGHT),
    ],
)
def test_what_runs_once_while_tracing_is_found_with_what_to_use(line: str, what: str, instead: str) -> None:
    assert found(line) == [(what, instead)]


@pytest.mark.parametrize(
    "line",
    [
        "x = keras.random.normal((3,), seed=self.seed_generator)",
        "self.total.assign_add(1.0)",
        "self.last = inputs",
        "count = 0; count += 1; seen = []; seen.append(count)",
        "tf.print(inputs)",
        "x = self.random.normal(inputs)",
        "x = SEEN[0] + LIMITS['a'] + self.count",
        "x = sorted(inputs.shape); x.insert(0, 1)",
        "self.add_loss(inputs)",
    ],
)
def test_what_a_traced_step_may_do_is_left_alone(line: str) -> None:
    assert found(line) == []


def test_a_function_is_read_with_the_functions_that_it_calls() -> None:
    assert found("pass", "loss") == [("np.random.normal()", SEED)]
    assert found("pass", "nowhere") == []


def test_a_traced_function_does_what_is_warned_of_once_only() -> None:
    """The fact that the warnings rest on."""
    seen: list[int] = []

    @tf.function
    def step(x: tf.Tensor) -> tf.Tensor:
        seen.append(1)
        return x + len(seen)

    assert [float(step(tf.constant(0.0))) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert seen == [1]
