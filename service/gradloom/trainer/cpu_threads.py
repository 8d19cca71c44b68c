"""How many threads a training gets on the CPU: settled once, in the first attempt, before TensorFlow starts its own.

Several threads inside an operation cost a small model more than they give (an MLP step took 531 us with two, 381 us
with one), and a large one gains (a convolutional step took 7.1 ms with two, 9.2 with one). So the model is built
without weights first, to see how much a step has to multiply.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import keras
from keras.src.backend.common import global_state

from gradloom.errors import InvalidRequestError
from gradloom.spec import with_defaults
from gradloom.trainer import models, user_code
from gradloom.trainer.strategy import GPU, Threads
from gradloom.v1 import spec_pb2

WORTH_SHARING: Final = 40_000_000
"""Multiplications of a replica's step beyond which threads gain more than they cost: 30 million on two cores."""
_CPU_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


def choose_threads(
    spec: spec_pb2.JobSpec, device_kind: int, replicas: int, data_roots: Sequence[str] = (), cores: int | None = None
) -> Threads:
    """Returns the threads that a job gets when no earlier attempt has settled them.

    On the CPU as many operations at a time as replicas, and at least two of a large model, whose layers' gradients can
    be taken side by side. The results of a convolution depend on the number of threads inside it, so that later
    attempts must take those of the first one.

    Args:
        spec: With every default filled in.
        device_kind: `ResolvedSpec.CPU` or `ResolvedSpec.GPU`.
        replicas: Over which a batch is divided.
        data_roots: Where path parameters may point to.
        cores: That the process may use; by default what the system says.
    """
    if device_kind == GPU:
        return Threads(intra_op=0, inter_op=0)
    shared = (cores or usable_cores()) // replicas
    rows = spec.training.global_batch_size / max(1, spec.training.gradient_accumulation_steps) / replicas
    is_large = shared > 1 and multiply_adds(spec, data_roots) * rows >= WORTH_SHARING
    if not is_large:
        return Threads(intra_op=1, inter_op=replicas)
    return Threads(intra_op=shared, inter_op=max(2, replicas))


def usable_cores() -> int:
    """The cores that this process may run on, and no more than a container's limit of CPU time is worth."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # Another version of control groups, or no limit: "max".
        return cores


def multiply_adds(spec: spec_pb2.JobSpec, data_roots: Sequence[str] = ()) -> int:
    """About how many multiplications one example takes forward; 0 where that cannot be told beforehand.

    Builds the layers without their weights, which starts nothing of TensorFlow. That is not done with code of users',
    which may notice that it runs twice, nor for a builder, which needs the data.
    """
    if spec.model.HasField("builder") or user_code.foreign_entries(spec):
        return 0
    try:
        with keras.StatelessScope(initialize_variables=False):
            return sum(_multiply_adds(models.build_model(with_defaults(spec, seed=0), data_roots)))
    except InvalidRequestError:
        # Told when the model is built in earnest.
        return 0
    finally:
        # Keras would make them when it next leaves such a scope.
        global_state.set_global_attribute("uninitialized_variables", [])


def _multiply_adds(model: keras.Model) -> Iterator[int]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _multiply_adds(layer)
        elif layer.weights:
            # Each place of an image or a sequence meets every weight of a kernel.
            first, *_ = keras.tree.flatten(layer.output)
            places = math.prod(size or 1 for size in first.shape[1:-1])
            yield places * sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)
