"""What Prometheus scrapes: every series of the control plane, fed by its parts and by the reports of trainers."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName, State, reason_name, state_name
from gradloom.jobs.histograms import WeightedHistogram
from gradloom.jobs.job_series import JobSeries
from gradloom.v1 import job_pb2
from gradloom.version import __version__

WAIT_BUCKETS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
STARTUP_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 60, 300)
STEP_BUCKETS: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
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


@dataclass(frozen=True, eq=False)
class ServerGauges(Collector):
    """Jobs by state, devices by use and room on disks, asked at each scrape."""

    job_counts: Callable[[], Mapping[int, int]]
    device_counts: Callable[[], Mapping[str, int]]
    """By `free` and `claimed`."""
    bytes_left: Callable[[], Mapping[str, int]]
    """On each disk, by its setting."""
    full_disk: Callable[[], str]
    """What the store says of its own disk; empty when that has room."""

    def describe(self) -> Iterable[Metric]:
        """Names the series, so that registering asks nothing yet."""
        return [self._jobs(), self._devices(), self._disks(), self._full()]

    def collect(self) -> Iterator[Metric]:
        """Asks."""
        jobs, devices = self._jobs(), self._devices()
        counts = self.job_counts()
        for state in State.values():
            if state != job_pb2.Job.STATE_UNSPECIFIED:
                jobs.add_metric([state_name(state)], counts.get(state, 0))
        for device_state, count in self.device_counts().items():
            devices.add_metric([device_state], count)
        yield jobs
        yield devices
        disks, full = self._disks(), self._full()
        for disk, left in self.bytes_left().items():
            disks.add_metric([disk.removeprefix("--").replace("-", "_")], left)
        yield disks
        full.add_metric([], bool(self.full_disk()))
        yield full

    def _jobs(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_jobs", "Jobs in the store, by state.", labels=("state",))

    def _devices(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_devices", "Devices of the server, by use.", labels=("state",))

    def _disks(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_disk_free_bytes", "What is left of the server's disks.", labels=("disk",))

    def _full(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("gradloom_disk_full", "1 while new jobs are refused because the store's disk is full.")
