"""Whether XLA compiles the forward and backward pass: as the spec says, or as a measurement does."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import tensorflow as tf

from gradloom.errors import refusal
from gradloom.trainer.step import NotFiniteError, TrainingStep
from gradloom.v1 import spec_pb2

ROUNDS: Final = 5
STEPS: Final = 10
"""Of a round; the first one of each way is not counted."""
LEAST_GAIN: Final = 1.05
"""How much faster it must be: compiling again after a resume has a price."""

logger = logging.getLogger(__name__)


def is_asked_for(jit_compile: int, reducing_layers: Sequence[str]) -> bool:
    """Whether the spec says ENABLED; raises InvalidRequestError where XLA cannot do what the spec asks for."""
    if jit_compile != spec_pb2.TrainingSpec.ENABLED:
        return False
    if reducing_layers:
        told = (
            "must not be ENABLED where layers reduce over replicas within the forward pass, as synchronized batch "
            f"normalization does and XLA cannot ({', '.join(reducing_layers)}); use one replica, or for batch "
            "normalization set synchronized_batch_normalization to false"
        )
        raise refusal("spec.training.jit_compile", told)
    return True


def is_faster(train: Callable[[TrainingStep, int], int], plain: TrainingStep, compiled: TrainingStep) -> bool:
    """Measures both ways side by side.

    Args:
        train: Trains so many steps, or fewer; returns how many. Changes the training's state.
        plain: Runs operation by operation.
        compiled: Runs what XLA makes of it.
    """
    seconds: dict[TrainingStep, list[float]] = {plain: [], compiled: []}
    try:
        for step in seconds:
            train(step, 1)
        for _ in range(ROUNDS):
            for step, taken in seconds.items():
                begin = time.perf_counter()
                steps = train(step, STEPS)
                if steps:
                    taken.append((time.perf_counter() - begin) / steps)
    except (tf.errors.OpError, NotImplementedError, ValueError, NotFiniteError) as error:
        logger.warning("jit_compile AUTO: not compiled, because the trial of both ways failed: %s", error)
        return False
    without, with_it = (statistics.median(taken) if taken else 0.0 for taken in seconds.values())
    faster = without > LEAST_GAIN * with_it
    logger.info(
        "jit_compile AUTO: a step takes %.3g ms compiled and %.3g ms not; %s",
        1e3 * with_it,
        1e3 * without,
        "compiled" if faster else "not compiled",
    )
    return faster
