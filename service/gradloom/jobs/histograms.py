"""Histograms that prometheus-client has none of: of one job among many, and of values that come many times at once."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Buckets:
    """What a histogram has seen."""

    def __init__(self, bounds: Sequence[float]):
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Counts `value` so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Gives the cumulative buckets."""
        cumulative = [sum(self._counts[: index + 1]) for index in range(len(self._counts))]
        buckets = [
            ("+Inf" if bound == float("inf") else str(bound), float(count))
            for bound, count in zip(self._bounds, cumulative, strict=True)
        ]
        family.add_metric(labels, buckets=buckets, sum_value=self._sum)


class WeightedHistogram(Collector):
    """A histogram that takes one value many times at once."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float]):
        self._name = name
        self._documentation = documentation
        self._buckets = Buckets(buckets)
        self._lock = threading.Lock()

    def observe(self, value: float, times: int) -> None:
        """Counts `value` so many times."""
        with self._lock:
            self._buckets.observe(value, times)

    def collect(self) -> Iterable[Metric]:
        """Gives the cumulative buckets."""
        family = HistogramMetricFamily(self._name, self._documentation)
        with self._lock:
            self._buckets.add_to(family, [])
        yield family
