"""Global batches and the replicas' shares of them, cut in the graph from arrays that lie in memory.

Every example is in exactly one batch of a pass and every row of a batch in exactly one share. The last batch may be
smaller; shares may differ by a row or more, and be empty. All row counts are static.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from gradloom.trainer.datasets import Arrays

_HOST = "CPU:0"
# TensorFlow cannot gather or cast these everywhere; a wider type holds every value.
_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


class Examples(NamedTuple):
    """Examples as tensors."""

    features: tf.Tensor
    """[n, ...]."""
    labels: tf.Tensor | tuple[tf.Tensor, ...]
    """[n, ...]; of a model with several outputs a tuple, in their order."""
    weights: tf.Tensor | None = None
    """What each one counts in the loss, [n]; None when all count alike."""

    def map(self, function: Callable[[tf.Tensor], Any]) -> "Examples":
        """With `function` of every tensor in place of it."""
        labels = tuple(map(function, self.labels)) if isinstance(self.labels, tuple) else function(self.labels)
        return Examples(function(self.features), labels, None if self.weights is None else function(self.weights))

    def tensors(self) -> list[tf.Tensor]:
        """All of them, in the order in which `map` takes them."""
        found: list[tf.Tensor] = []
        self.map(found.append)
        return found


class Share(NamedTuple):
    """A replica's rows of a global batch, in replica context.

    Where `rows` is 0, the examples may be one that only stands in and does not count.
    """

    examples: Examples
    rows: int
    """How many rows count."""
    begin: int | tf.Tensor
    """Position of the first row in the global batch; a tensor where that is run in parts."""
    total: int
    """Rows of the global batch."""
    parts: int = 1
    """In how many parts the global batch is run, one after the other."""
    counts: tf.Tensor | None = None
    """Then, how many values of the global batch count in each loss, [losses]; 0 for one that masks none."""


class Whole(NamedTuple):
    """The global batch that a batch is only a part of."""

    offset: tf.Tensor | int
    """Position of the part's first row in it."""
    rows: int
    parts: int
    counts: tf.Tensor | None


class Batches:
    """The examples of one source as tensors, cut into batches of `size`, with labels for `outputs` by name.

    Attributes:
        examples: All of them.
        count: How many they are.
        full: How many batches have `size` examples.
        rest: How many examples the last, smaller batch has; 0 when there is none.
    """

    def __init__(self, arrays: Arrays, size: int, outputs: Sequence[str]):
        with tf.device(_HOST):
            # Outputs may share an array; there is one tensor for it then.
            held = {id(array): _tensor(array) for array in map(arrays.labels_of, outputs)}
            labels = tuple(held[id(arrays.labels_of(name))] for name in outputs)
            weights = None if arrays.weights is None else _tensor(arrays.weights)
            # Images stay the bytes they are; each batch is cast to what the model takes.
            self.examples = Examples(_tensor(arrays.features), labels if len(labels) > 1 else labels[0], weights)
        self.size = size
        self.count = len(arrays)
        self.full, self.rest = divmod(self.count, size)

    def first(self, rows: int) -> Examples:
        """The first examples, in the source's order."""
        with tf.device(_HOST):
            return self.examples.map(lambda tensor: tensor[:rows])

    @property
    def steps(self) -> int:
        """Batches in a pass."""
        return self.full + (self.rest > 0)

    def examples_before(self, step: int) -> int:
        """How many examples the first `step` batches of a pass hold."""
        return min(step * self.size, self.count)


def _tensor(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array.astype(_WIDER.get(array.dtype.name, array.dtype), copy=False))


def permutation(examples: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """The order of the examples in an epoch, int32 [examples]; depends on nothing else."""
    with tf.device(_HOST):
        return tf.random.experimental.stateless_shuffle(
            tf.range(examples), tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        )


def gather(examples: Examples, order: tf.Tensor, begin: tf.Tensor, rows: int) -> Examples:
    """The examples at positions [begin, begin + rows) of `order`."""
    with tf.device(_HOST):
        positions = tf.slice(order, [begin], [rows])
        return examples.map(lambda tensor: tf.gather(tensor, positions))


def in_order(examples: Examples, begin: tf.Tensor, rows: int) -> Examples:
    """The examples at positions [begin, begin + rows)."""
    with tf.device(_HOST):
        return examples.map(lambda tensor: _rows(tensor, begin, rows))


def _rows(tensor: tf.Tensor, begin: tf.Tensor, rows: int) -> tf.Tensor:
    part = tensor[begin : begin + rows]
    return tf.ensure_shape(part, [rows, *tensor.shape[1:]])


def run_on_shares(
    strategy: tf.distribute.Strategy,
    replica_step: Callable[[Share], Any],
    batch: Examples,
    stand_in: bool,
    whole: Whole | None = None,
) -> tuple[Any, ...]:
    """Calls `replica_step` on every replica with its share of a global batch or, with `whole`, of a part of one.

    Runs in cross-replica context; returns what each gives. A replica without rows is called all the same, since all
    must meet in the all-reduce. With `stand_in` it gets the batch's first row to run on, and 0 as their number: some
    layers (an LSTM) fail on no rows.
    """
    rows_here = batch.features.shape[0]
    offset, total, parts, counts = whole or Whole(0, rows_here, 1, None)

    def share(begin: int, end: int) -> Share:
        if end - begin == rows_here:
            return Share(batch, rows_here, offset, total, parts, counts)
        rows = slice(0, 1) if stand_in and begin == end else slice(begin, end)
        return Share(batch.map(lambda tensor: tensor[rows]), end - begin, offset + begin, total, parts, counts)

    with tf.device(_HOST):
        shares = [share(begin, end) for begin, end in share_bounds(rows_here, strategy.num_replicas_in_sync)]
    return strategy.experimental_local_results(strategy.run(lambda: replica_step(shares[replica_number()])))


def share_bounds(rows: int, replicas: int) -> list[tuple[int, int]]:
    """The rows [begin, end) of each replica: as even as can be, the first replicas have one more."""
    share, more = divmod(rows, replicas)
    ends = [share * (replica + 1) + min(replica + 1, more) for replica in range(replicas)]
    return list(zip([0, *ends], ends, strict=False))


class Part(NamedTuple):
    """Micro-batches of one size, one after the other in a global batch."""

    first: int
    """Position of the first row."""
    size: int
    times: int


def micro_batches(rows: int, count: int) -> list[Part]:
    """A batch cut into `count` micro-batches, or as many as it has rows, whose sizes differ by one at most."""
    count = min(count, rows)
    size, larger = divmod(rows, count)
    parts = [Part(0, size + 1, larger), Part(larger * (size + 1), size, count - larger)]
    return [part for part in parts if part.times]


def replica_number() -> int:
    """Which replica is being traced, from 0; call in replica context."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))
