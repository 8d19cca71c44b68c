"""What a model's layers keep beside their weights: metrics of their own, and sums over the rows of all replicas."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from gradloom.errors import refusal


class OwnMetrics:
    """The metrics that layers of a model update in their call, such as the error of a reconstruction.

    A call also runs when a model is tried, when its outputs are proven and when it serves. The metrics, once taken over
    here, count in the passes of a training alone, each row once, and stay as they are otherwise: an export that wrote
    to them would not only infer.

    Attributes:
        metrics: All of them.

    Raises:
        InvalidRequestError: Two scalars would have one name.
    """

    def __init__(self, model: keras.Model, taken: Iterable[str] = ()):
        layers = (model, *model._flatten_layers(include_self=False))
        self.metrics = tuple(dict.fromkeys(metric for layer in layers for metric in layer._metrics))
        self._counting = threading.local()
        names = set(taken)
        for metric in self.metrics:
            if metric.name in names:
                told = f'a metric of its own is named "{metric.name}", which is taken by another scalar: rename one'
                raise refusal("spec.model", told)
            names.add(metric.name)
            metric.update_state = partial(self._update, metric, metric.update_state)

    @contextmanager
    def counting(self, rows: int) -> Iterator[None]:
        """Within it, in one replica's thread, the metrics count the rows of its share; none where it has no row."""
        self._counting.rows = rows
        try:
            yield
        finally:
            self._counting.rows = 0

    def _update(
        self, metric: keras.metrics.Metric, update_state: Callable[..., Any], values: Any, *args: Any, **weights: Any
    ) -> None:
        rows = getattr(self._counting, "rows", 0)
        if not rows:
            return
        if isinstance(metric, keras.metrics.Mean) and not args and not weights and not keras.ops.ndim(values):
            # One number for all rows of a share: shares differ in size, and so do batches.
            weights = {"sample_weight": rows}
        update_state(values, *args, **weights)


def summing_layers(model: keras.Model) -> list[str]:
    """Paths of the layers that say they keep sums over the rows of all replicas: a row that stands in would count."""
    layers = model._flatten_layers(include_self=False)
    return [layer.path for layer in layers if getattr(layer, "sums_over_replicas", False)]
