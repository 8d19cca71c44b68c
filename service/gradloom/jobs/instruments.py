"""What Prometheus scrapes: every series of the control plane, fed by its parts and by the reports of trainers.

Series of one job carry the labels `project` and `job_id` (never `job` or `instance`, which are Prometheus's own) and
are kept as plain values by job, so that they end with one deletion, a grace after the job has.
"""

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName, State, reason_name, state_name
from gradloom.v1 import job_pb2
from gradloom.version import __version__

JOB_LABELS: Final = ("project", "job_id")
WAIT_BUCKETS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
STARTUP_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 60, 300)
STEP_BUCKETS: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
SAVE_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IN_FLIGHT_SECONDS: Final = 60.0
"""A report comes so long at most after the end of the job that it was stored before."""
RPC_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Instruments:
    """Every instrument of one server, in a registry of its own.

    All methods may be called from any thread. `clock` is monotonic.
    """

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic):
        self.registry = CollectorRegistry()
        self._jobs_created = Counter("gradloom_jobs_created", "Jobs accepted.", registry=self.registry)
        self._jobs_finished = Counter(
            "gradloom_jobs_finished", "Jobs that became terminal.", ("state", "reason"), registry=self.registry
        )
        self._attempts = Counter(
            "gradloom_job_attempts", "Attempts that ended, by reason.", ("outcome",), registry=self.registry
        )
        self._queue_wait = Histogram(
            "gradloom_queue_wait_seconds",
            "From creation, or from going back to the queue, to the claim.",
            buckets=WAIT_BUCKETS,
            registry=self.registry,
        )
        self._startup = Histogram(
            "gradloom_job_startup_seconds",
            "From an attempt's claim to its trainer's first call, to its resolved spec, to the end of its first step.",
            ("phase",),
            buckets=STARTUP_BUCKETS,
            registry=self.registry,
        )
        rpcs = Counter(
            "grpc_server_handled",
            "RPCs handled.",
            ("grpc_service", "grpc_method", "grpc_code"),
            registry=self.registry,
        )
        rpc_seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long RPCs took; streams for their whole life.",
            ("grpc_service", "grpc_method"),
            buckets=RPC_BUCKETS,
            registry=self.registry,
        )
        # To look for the series of labels takes longer than to count.
        self._series_of_rpc = cache(
            lambda service, method, code: (rpcs.labels(service, method, code), rpc_seconds.labels(service, method))
        )
        Gauge("gradloom_build_info", "1, with the version.", ("version",), registry=self.registry).labels(
            __version__
        ).set(1)
        ProcessCollector(registry=self.registry)
        self.step_seconds = WeightedHistogram(
            "gradloom_step_seconds", "Training step; each look's mean, counted once per step.", STEP_BUCKETS
        )
        self.registry.register(self.step_seconds)
        self.jobs = JobSeries(grace_seconds, clock)
        self.registry.register(self.jobs)

    def observe_server(
        self,
        job_counts: Callable[[], Mapping[int, int]],
        device_counts: Callable[[], Mapping[str, int]],
        bytes_left: Callable[[], Mapping[str, int]],
        full_disk: Callable[[], str],
    ) -> None:
        """Registers what is asked at each scrape.

        That is jobs by state, devices by `free` and `claimed`, what is left of disks by their settings, and what the
        store says of its own, empty when that has room.
        """
        self.registry.register(_ServerGauges(job_counts, device_counts, bytes_left, full_disk))

    def job_created(self) -> None:
        """Counts an accepted job."""
        self._jobs_created.inc()

    def job_claimed(self, queue_wait_seconds: float) -> None:
        """Takes how long a job waited."""
        self._queue_wait.observe(max(0.0, queue_wait_seconds))

    def attempt_reached(self, phase: str, seconds: float) -> None:
        """Takes how long after its claim an attempt reached a phase: `assigned`, `prepared`, `first_step`."""
        self._startup.labels(phase).observe(max(0.0, seconds))

    def attempt_reported(self, uid: str, name: JobName, attempt: int, report: attempt_pb2.ReportRequest) -> None:
        """Takes one report of an attempt, which may have ended since it was stored."""
        if report.steps > 0 and report.mean_step_seconds >= 0:
            self.step_seconds.observe(report.mean_step_seconds, report.steps)
        if name.is_tombstone:
            return
        newly_stepped = self.jobs.report(uid, name, attempt, report)
        if newly_stepped:
            self.attempt_reached("first_step", report.progress.first_step_duration.ToNanoseconds() / 1e9)

    def checkpoint_recorded(self, uid: str, name: JobName, request: attempt_pb2.RecordCheckpointRequest) -> None:
        """Takes what a checkpoint cost; it is the job's newest."""
        if not name.is_tombstone:
            self.jobs.checkpoint(uid, name, request.save_seconds, request.checkpoint.size_bytes)

    def attempt_ended(self, uid: str, number: int, reason: int) -> None:
        """Counts an ended attempt; no heartbeat is expected of the job until another one reports."""
        self.jobs.rest(uid, number)
        self._attempts.labels(reason_name(reason)).inc()

    def job_finished(self, uid: str, state: int, reason: int) -> None:
        """Counts a job that became terminal; its own series go after the grace."""
        self._jobs_finished.labels(state_name(state), reason_name(reason)).inc()
        self.jobs.end(uid)

    def job_deleted(self, uid: str) -> None:
        """A job is gone: so are its own series, for its name is free."""
        self.jobs.drop(uid)

    def rpc_handled(self, service: str, method: str, code: str, seconds: float) -> None:
        """Counts one RPC."""
        rpcs, rpc_seconds = self._series_of_rpc(service, method, code)
        rpcs.inc()
        rpc_seconds.observe(seconds)


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


class _ServerGauges(Collector):
    """Jobs by state, devices by use and room on disks, asked at each scrape."""

    def __init__(
        self,
        job_counts: Callable[[], Mapping[int, int]],
        device_counts: Callable[[], Mapping[str, int]],
        bytes_left: Callable[[], Mapping[str, int]],
        full_disk: Callable[[], str],
    ):
        self._job_counts = job_counts
        self._device_counts = device_counts
        self._bytes_left = bytes_left
        self._full_disk = full_disk

    def describe(self) -> Iterable[Metric]:
        """Names the series, so that registering asks nothing yet."""
        return [self._jobs(), self._devices(), self._disks(), self._full()]

    def collect(self) -> Iterator[Metric]:
        """Asks."""
        jobs, devices = self._jobs(), self._devices()
        counts = self._job_counts()
        for state in State.values():
            if state != job_pb2.Job.STATE_UNSPECIFIED:
                jobs.add_metric([state_name(state)], counts.get(state, 0))
        for device_state, count in self._device_counts().items():
            devices.add_metric([device_state], count)
        yield jobs
        yield devices
        disks, full = self._disks(), self._full()
        for disk, left in self._bytes_left().items():
            disks.add_metric([disk.removeprefix("--").replace("-", "_")], left)
        yield disks
        full.add_metric([], bool(self._full_disk()))
        yield full

    def _jobs(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_jobs", "Jobs in the store, by state.", labels=("state",))

    def _devices(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_devices", "Devices of the server, by use.", labels=("state",))

    def _disks(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_disk_free_bytes", "What is left of the server's disks.", labels=("disk",))

    def _full(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_disk_full", "1 while new jobs are refused because the store's disk is full.")
