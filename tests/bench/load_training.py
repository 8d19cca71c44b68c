"""The API while two jobs train at full load on the cores that it has itself: how long calls take, how late streams are.

The same calls are made while the two trainers are stopped: the same server, store and jobs on an idle machine.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
from ruamel.yaml import YAML

from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc
from tests.bench.load_reads import timed
from tests.bench.load_server import Figure, percentile, played_job
from tests.bench.service_cost import quiet
from tests.e2e.server import ROOT, Server, digits_job, wait_until

PAGE: Final = 50
ROUNDS: Final = 200
PAUSE_SECONDS: Final = 0.03
"""Between two calls, or the caller and the server would take a core."""
SLOWEST_MILLISECONDS: Final = 1000.0
FOREVER: Final = 1_000_000
LATEST_SECONDS: Final = 2.0
"""Between what a trainer does and who follows it: it reports twice a second."""
EPOCH_LINE: Final = re.compile(r"(\S+Z) INFO epoch (\d+)/")

Call = Callable[[], object]


def small_job() -> dict[str, Any]:
    """About five epochs a second, and four points an epoch."""
    job = digits_job(FOREVER)
    job["spec"]["training"] |= {"steps_per_epoch": 400, "scalars_every_steps": 100}
    return job


def convolutional_job() -> dict[str, Any]:
    """About three epochs a second; one step takes both cores."""
    job: dict[str, Any] = YAML(typ="safe").load(ROOT / "examples" / "fashion_mnist_three_optimizers.yaml")
    job["spec"]["training"] |= {"epochs": FOREVER, "steps_per_epoch": 20, "scalars_every_steps": 5}
    job["spec"]["data"]["validation"]["range"] = {"from": 55000, "to": 55200}
    return job


def measure(directory: Path) -> list[Figure]:
    """Calls in turns, one after the other, first on an idle machine, then beside two trainings that are followed."""
    server = Server(directory, "--cpu-slots", "2").start()
    try:
        with server.client() as client, grpc.insecure_channel(server.addresses["listen"]) as channel:
            jobs = [client.submit(job) for job in (small_job(), convolutional_job())]
            wait_until(lambda: all(client.get(job.name).progress.scalars for job in jobs), 120, "both train")
            trainers = [server.trainer_pid(job.uid, 1) for job in jobs]
            calls = _calls(service_pb2_grpc.TrainingServiceStub(channel))
            with _stopped(trainers):
                wait_until(lambda: quiet(server), 60, "the spare has done its imports")
                idle = _milliseconds(calls)
            with _followed(server, jobs) as followers:
                begun, used = time.monotonic(), _processor_seconds(trainers)
                loaded = _milliseconds(calls)
                cores = (_processor_seconds(trainers) - used) / (time.monotonic() - begun)
                for job in jobs:
                    client.cancel(job.name)
        figures = [Figure("cores that the two trainings took meanwhile", cores, "")]
        return [*figures, *_compared(idle, loaded), *_lateness(server, followers)]
    finally:
        server.terminate()


def _calls(stub: Any) -> dict[str, Call]:
    """Each makes one call; created jobs wait for devices that are taken."""
    create = service_pb2.CreateJobRequest(job=played_job(3, 7))
    get = service_pb2.GetJobRequest(name=stub.CreateJob(create).name)
    page = service_pb2.ListJobsRequest(page_size=PAGE)
    for _ in range(PAGE):
        stub.CreateJob(create)
    return {
        "GetJob": lambda: stub.GetJob(get),
        f"page of {PAGE}": lambda: stub.ListJobs(page),
        "CreateJob": lambda: stub.CreateJob(create),
    }


def _milliseconds(calls: dict[str, Call]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            time.sleep(PAUSE_SECONDS)
            taken[name] += timed(call, 1)
    return taken


def _compared(idle: dict[str, list[float]], loaded: dict[str, list[float]]) -> Iterator[Figure]:
    for name in idle:
        for percent, how in ((50, "median"), (99, "p99")):
            alone, beside = (percentile(taken[name], percent) for taken in (idle, loaded))
            yield Figure(f"{name}, {how}, trainers stopped", alone, "ms")
            yield Figure(f"{name}, {how}, beside two trainings", beside, "ms")
            yield Figure(f"{name}, {how}, against trainers stopped", beside / alone, "")
        yield Figure(f"{name}, slowest, beside two trainings", max(loaded[name]), "ms", SLOWEST_MILLISECONDS)


@contextlib.contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _processor_seconds(pids: Sequence[int]) -> float:
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


@dataclass
class Follower:
    """Reads every stream of one job as it grows, and notes when what came."""

    address: str
    name: str
    begun: float = field(default_factory=time.time)
    events: list[tuple[float, job_pb2.Event]] = field(default_factory=list)
    lines: list[tuple[float, str]] = field(default_factory=list)
    points: list[tuple[float, job_pb2.ScalarsPoint]] = field(default_factory=list)

    def read_events(self) -> None:
        with self._stub() as stub:
            for message in stub.WatchJob(service_pb2.WatchJobRequest(name=self.name, from_start=True)):
                if message.HasField("event"):
                    self.events.append((time.time(), message.event))

    def read_lines(self, follow: bool = True) -> None:
        with self._stub() as stub:
            for message in stub.StreamLogs(service_pb2.StreamLogsRequest(name=self.name, follow=follow)):
                self.lines += [(time.time(), line) for line in message.lines]

    def read_points(self, follow: bool = True) -> None:
        with self._stub() as stub:
            for message in stub.StreamMetrics(service_pb2.StreamMetricsRequest(name=self.name, follow=follow)):
                self.points += [(time.time(), point) for point in message.points]

    @contextlib.contextmanager
    def _stub(self) -> Iterator[Any]:
        with grpc.insecure_channel(self.address) as channel:
            yield service_pb2_grpc.TrainingServiceStub(channel)

    def has_all_of(self, whole: "Follower") -> bool:
        """Whether each stream had all that there is, once and in order."""
        pairs = ((self.events, whole.events), (self.lines, whole.lines), (self.points, whole.points))
        return all([one for _, one in mine] == [one for _, one in other] for mine, other in pairs)

    def seconds_late(self) -> dict[str, list[float]]:
        """Of each stream, between the end of an epoch in the trainer, by its log, and its arrival here."""
        ended = {int(found[2]): _seconds(found[1]) for _, line in self.lines if (found := EPOCH_LINE.match(line))}
        came = {
            "WatchJob": [(at, event.epoch) for at, event in self.events if event.kind == job_pb2.Event.EPOCH_ENDED],
            "StreamLogs": [(at, int(found[2])) for at, line in self.lines if (found := EPOCH_LINE.match(line))],
            "StreamMetrics": [(at, point.epoch) for at, point in self.points if point.epoch_end],
        }
        assert all([epoch for _, epoch in told] == list(range(1, len(told) + 1)) for told in came.values())
        return {
            stream: [at - ended[epoch] for at, epoch in told if ended[epoch] > self.begun]
            for stream, told in came.items()
        }


@contextlib.contextmanager
def _followed(server: Server, jobs: Sequence[job_pb2.Job]) -> Iterator[list[Follower]]:
    """Follows the jobs until they have ended; raises what a stream ended with."""
    followers = [Follower(server.addresses["listen"], job.name) for job in jobs]
    reads = [read for one in followers for read in (one.read_events, one.read_lines, one.read_points)]
    with ThreadPoolExecutor(len(reads)) as threads:
        reading = [threads.submit(read) for read in reads]
        yield followers
        for stream in reading:
            stream.result()


def _lateness(server: Server, followers: Sequence[Follower]) -> Iterator[Figure]:
    wrong = 0
    for follower in followers:
        whole = Follower(server.addresses["listen"], follower.name)
        whole.read_events()
        whole.read_lines(follow=False)
        whole.read_points(follow=False)
        wrong += not follower.has_all_of(whole)
    late = [follower.seconds_late() for follower in followers]
    for stream in late[0]:
        seconds = [second for one in late for second in one[stream]]
        yield Figure(f"{stream}: latest of {len(seconds)} ends of epochs", max(seconds), "s", LATEST_SECONDS)
    yield Figure("followed jobs with anything missing, double or out of order", wrong, "", 0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
