"""State that is a sum over the rows of all replicas."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def summed_over_replicas(values: Sequence[Any]) -> list[Any]:
    """The sums over all replicas of tensors of one dtype; called on every replica, also on those without rows.

    A layer that calls it has an attribute `sums_over_replicas` that is true: it then sees no row that only stands in
    where a replica has none. (Keras's `aggregation="sum"` will not do: its `assign_add` adds up the old values too.)
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(values)
    reduced: list[Any] = context.all_reduce(tf.distribute.ReduceOp.SUM, list(values))
    return reduced
