"""The series of single jobs, fed by the reports of their trainers.

They carry the labels `project` and `job_id` (never `job` or `instance`, which are Prometheus's own) and are kept as
plain values by job, so that they end with one deletion, a grace after the job has.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.histograms import Buckets
from gradloom.v1 import job_pb2

JOB_LABELS: Final = ("project", "job_id")
SAVE_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IN_FLIGHT_SECONDS: Final = 60.0
"""A report comes so long at most after the end of the job that it was stored before."""


@dataclass
class _JobValues:
    """What is exported of one job, once it has reported."""

    name: JobName | None = None
    """None while there is nothing to export, and when it was deleted."""
    beaten_at: float | None = None
    """None while no attempt lives."""
    attempt: int = 0
    ended_attempt: int = 0
    """The newest that has ended."""
    beat: int = 0
    examples: int = 0
    steps: int = 0
    first_step_seen: bool = False
    progress: job_pb2.Progress = field(default_factory=job_pb2.Progress)
    save_seconds: Buckets = field(default_factory=lambda: Buckets(SAVE_BUCKETS))
    checkpoint_bytes: int | None = None
    ended_at: float | None = None


class JobSeries(Collector):
    """The series that belong to one job, by its uid, for as long as it lives and a grace."""

    def __init__(self, grace_seconds: float, clock: Callable[[], float]):
        self._grace_seconds = grace_seconds
        self._clock = clock
        # What has ended or was deleted stays here for a while: what of it is still on its way revives nothing.
        self._jobs: dict[str, _JobValues] = {}
        # In the order of their ends: whether anybody scrapes or not, none is kept for ever.
        self._ended: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def report(self, uid: str, name: JobName, attempt: int, report: attempt_pb2.ReportRequest) -> bool:
        """Takes a report; returns whether it is the first to know of the end of the attempt's first step."""
        now = self._clock()
        with self._lock:
            values = self._values(uid)
            if values.ended_at is not None or attempt <= values.ended_attempt:
                return False
            values.name = name
            if attempt != values.attempt:
                values.attempt, values.beat, values.first_step_seen, values.beaten_at = attempt, 0, False, now
            if report.beat > values.beat:
                values.beat, values.beaten_at = report.beat, now
            values.examples += max(0, report.examples)
            values.steps += max(0, report.steps)
            if report.HasField("progress"):
                # A copy: a part keeps the whole of its message, events included, in memory.
                values.progress = job_pb2.Progress()
                values.progress.CopyFrom(report.progress)
            newly_stepped = not values.first_step_seen and values.progress.HasField("first_step_duration")
            values.first_step_seen |= newly_stepped
            return newly_stepped

    def checkpoint(self, uid: str, name: JobName, save_seconds: float, size_bytes: int) -> None:
        """Takes a checkpoint that was put on record."""
        with self._lock:
            values = self._values(uid)
            if values.ended_at is None:
                values.name = name
                values.save_seconds.observe(max(0.0, save_seconds))
                values.checkpoint_bytes = size_bytes

    def _values(self, uid: str) -> _JobValues:
        """The values of a job, of which there may have been none; the lock is held."""
        return self._jobs.setdefault(uid, _JobValues())

    def rest(self, uid: str, attempt: int) -> None:
        """This attempt has ended, and none lives: the job waits, is paused or ends."""
        with self._lock:
            values = self._values(uid)
            values.beaten_at, values.ended_attempt = None, attempt

    def end(self, uid: str) -> None:
        """The job is terminal: its series live for the grace from now on."""
        with self._lock:
            self._end(uid)

    def drop(self, uid: str) -> None:
        """The job is deleted: its series end at once."""
        with self._lock:
            self._end(uid).name = None

    def _end(self, uid: str) -> _JobValues:
        """Takes no more of the job; the lock is held."""
        values = self._values(uid)
        if values.ended_at is None:
            values.ended_at = self._clock()
            self._ended.append((values.ended_at, uid))
            self._forget(values.ended_at)
        return values

    def _forget(self, now: float) -> None:
        """Drops jobs whose grace is over, and of which nothing can be on its way; the lock is held."""
        kept_seconds = max(self._grace_seconds, IN_FLIGHT_SECONDS)
        while self._ended and now - self._ended[0][0] >= kept_seconds:
            del self._jobs[self._ended.popleft()[1]]

    def _shown(self, values: _JobValues, now: float) -> bool:
        return values.ended_at is None or now - values.ended_at < self._grace_seconds

    def collect(self) -> Iterator[Metric]:
        """Gives the series of every job that lives or has ended within the grace."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            families = _JobFamilies()
            # By name: of an id that has a next user, the values of that one.
            shown = {values.name: values for values in self._jobs.values() if self._shown(values, now)}
            for name, values in shown.items():
                if name is not None:
                    families.add([name.project, name.job_id], values, now)
        yield from families.all()


class _JobFamilies:
    """The metric families of one scrape."""

    def __init__(self) -> None:
        self.examples = CounterMetricFamily("gradloom_job_examples", "Training examples seen.", labels=JOB_LABELS)
        self.steps = CounterMetricFamily("gradloom_job_steps", "Training steps made.", labels=JOB_LABELS)
        self.epoch = GaugeMetricFamily("gradloom_job_epoch", "The epoch in work, from 1.", labels=JOB_LABELS)
        self.scalar = GaugeMetricFamily("gradloom_job_scalar", "Newest training results.", labels=(*JOB_LABELS, "name"))
        group_labels = (*JOB_LABELS, "group")
        self.learning_rate = GaugeMetricFamily(
            "gradloom_job_learning_rate", "Learning rate of the next step, by variable group.", labels=group_labels
        )
        self.gradient_norm = GaugeMetricFamily(
            "gradloom_job_gradient_norm", "Norm of the group's reduced gradient before clipping.", labels=group_labels
        )
        self.update_ratio = GaugeMetricFamily(
            "gradloom_job_update_ratio", "Norm of the last update over the norm of the variables.", labels=group_labels
        )
        self.save_seconds = HistogramMetricFamily(
            "gradloom_checkpoint_save_seconds",
            "From the copy of all state to host memory to a whole checkpoint on the disk.",
            labels=JOB_LABELS,
        )
        self.checkpoint_bytes = GaugeMetricFamily(
            "gradloom_checkpoint_bytes", "Size of the newest checkpoint.", labels=JOB_LABELS
        )
        self.heartbeat_age = GaugeMetricFamily(
            "gradloom_trainer_heartbeat_age_seconds", "Since the trainer's counter last moved.", labels=JOB_LABELS
        )

    def add(self, labels: list[str], values: _JobValues, now: float) -> None:
        progress = values.progress
        self.examples.add_metric(labels, values.examples)
        self.steps.add_metric(labels, values.steps)
        self.epoch.add_metric(labels, progress.epoch)
        for name, value in sorted(progress.scalars.items()):
            self.scalar.add_metric([*labels, name], value)
        for group, look in sorted(progress.groups.items()):
            if look.HasField("learning_rate"):
                self.learning_rate.add_metric([*labels, group], look.learning_rate)
            if look.HasField("gradient_norm"):
                self.gradient_norm.add_metric([*labels, group], look.gradient_norm)
            if look.HasField("update_ratio"):
                self.update_ratio.add_metric([*labels, group], look.update_ratio)
        if values.checkpoint_bytes is not None:
            values.save_seconds.add_to(self.save_seconds, labels)
            self.checkpoint_bytes.add_metric(labels, values.checkpoint_bytes)
        if values.ended_at is None and values.beaten_at is not None:
            self.heartbeat_age.add_metric(labels, now - values.beaten_at)

    def all(self) -> tuple[Metric, ...]:
        return (
            self.examples,
            self.steps,
            self.epoch,
            self.scalar,
            self.learning_rate,
            self.gradient_norm,
            self.update_ratio,
            self.save_seconds,
            self.checkpoint_bytes,
            self.heartbeat_age,
        )
