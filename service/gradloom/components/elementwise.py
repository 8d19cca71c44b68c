"""Labels and outputs side by side, for losses and metrics that compare them element by element."""

from typing import Any

from keras import ops


def aligned(labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Labels and outputs of one shape, in the outputs' dtype.

    [b] and [b, 1] are taken for the same; any other two shapes are refused, for broadcasting would compare every
    example with every other. Raises ValueError.
    """
    outputs = ops.convert_to_tensor(outputs)
    labels = ops.cast(labels, outputs.dtype)
    own, given = tuple(labels.shape), tuple(outputs.shape)
    if len(own) + 1 == len(given) and given[-1] == 1:
        labels = ops.expand_dims(labels, -1)
    elif len(given) + 1 == len(own) and own[-1] == 1:
        labels = ops.squeeze(labels, -1)
    elif len(own) != len(given) or any(
        one != other for one, other in zip(own, given, strict=True) if None not in (one, other)
    ):
        raise ValueError(f"labels of shape {list(own)} and outputs of shape {list(given)} are not of one shape")
    return labels, outputs


def mean_of_each(values: Any) -> Any:
    """The mean over the last axis, [b, ..., size] to [b, ...]; one number for each example, [b], as it is."""
    return values if len(values.shape) < 2 else ops.mean(values, axis=-1)


def weights_like(values: Any, sample_weight: Any) -> Any:
    """The weight of each value, in the values' shape and dtype.

    Takes weights of the examples [b], or of any leading axes of the values; None weighs every value 1.
    """
    if sample_weight is None:
        return ops.ones_like(values)
    weight = ops.cast(sample_weight, values.dtype)
    if len(weight.shape) > len(values.shape):
        weight = ops.squeeze(weight, -1)
    missing = len(values.shape) - len(weight.shape)
    weight = ops.reshape(weight, (*ops.shape(weight), *([1] * missing)))
    return ops.broadcast_to(weight, ops.shape(values))
