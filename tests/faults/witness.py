"""What clients were promised and have seen; every later look is held against it."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import grpc

from gradloom.job import LIVE_STATES, NEXT_STATES, TERMINAL_STATES, state_name
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc

Job, Attempt, Event = job_pb2.Job, job_pb2.Attempt, job_pb2.Event
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""CANCELLED: gRPC itself ends calls so that reach a server in the moment in which it closes."""
CALL_SECONDS = 20.0


@dataclass
class Promise:
    """An acknowledged job."""

    name: str
    uid: str
    spec: bytes
    kind: str
    """Of which every job ends alike; empty when its result does not matter."""
    expected_ends: set[int]
    begun_at: int = 0
    """The step of the checkpoint of another job that it goes on from."""
    compared: bool = False
    """Its results were held against those of the undisturbed job."""
    final: job_pb2.Job | None = None
    attempt_count: int = 0
    state: int = Job.QUEUED
    events: list[job_pb2.Event] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.final is not None


class Witness:
    """Looks at every acknowledged job again and again, and keeps watches open that survive whatever happens."""

    def __init__(self, address: str):
        options = (("grpc.max_reconnect_backoff_ms", 500), ("grpc.enable_http_proxy", 0))
        self._channel = grpc.insecure_channel(address, options=options)
        self.stub: Any = service_pb2_grpc.TrainingServiceStub(self._channel)
        self.promises: dict[str, Promise] = {}
        self.faults: list[str] = []
        """What was seen that must not be."""
        self.gone: list[Promise] = []
        """Deleted jobs."""
        self._closing = threading.Event()
        self._watchers: list[threading.Thread] = []

    def close(self) -> None:
        self._closing.set()
        self._channel.close()
        for watcher in self._watchers:
            watcher.join(30)

    def acknowledged(self, job: job_pb2.Job, kind: str = "", end: int = Job.SUCCEEDED) -> Promise:
        """Takes note of a job that the server said it has and of how it must end, and begins to watch it."""
        promise = Promise(job.name, job.uid, job.spec.SerializeToString(deterministic=True), kind, {end})
        known = self.promises.setdefault(job.name, promise)
        if known.uid != job.uid:
            self.faults.append(f"{job.name}: acknowledged as {known.uid} and again as {job.uid}")
        elif known is promise:
            watcher = threading.Thread(target=self._watch, args=(promise,), daemon=True)
            self._watchers.append(watcher)
            watcher.start()
        return known

    def deleted(self, promise: Promise) -> None:
        """Takes note of a job that the server said is deleted."""
        self.gone.append(self.promises.pop(promise.name))

    def look(self) -> None:
        """Holds every job against what was seen of it before; the server may go away meanwhile."""
        for promise in list(self.promises.values()):
            self.look_at(promise)
        for promise in self.gone:
            try:
                self.stub.GetJob(service_pb2.GetJobRequest(name=promise.name), timeout=CALL_SECONDS)
                self.faults.append(f"{promise.name} was deleted, and is there")
            except grpc.RpcError as error:
                if error.code() not in (*AWAY, grpc.StatusCode.NOT_FOUND):
                    self.faults.append(f"{promise.name} was deleted: {error.code().name}, {error.details()}")

    def look_at(self, promise: Promise) -> job_pb2.Job | None:
        """One job; None when the server is away."""
        try:
            job, attempts = self._seen_at_once(promise.name)
        except grpc.RpcError as error:
            if error.code() not in AWAY:
                self.faults.append(f"{promise.name}: {error.code().name}, {error.details()}")
            return None
        self.faults += [f"{promise.name}: {fault}" for fault in _faults_of(promise, job, attempts)]
        promise.attempt_count, promise.state = job.attempt_count, job.state
        if job.state in TERMINAL_STATES:
            promise.final = promise.final or job
        return job

    def _seen_at_once(self, name: str) -> tuple[job_pb2.Job, list[job_pb2.Attempt]]:
        """A job and its attempts as of one moment: nothing happened to the job between two looks at it."""
        before = self.stub.GetJob(service_pb2.GetJobRequest(name=name), timeout=CALL_SECONDS)
        while True:
            request = service_pb2.ListAttemptsRequest(parent=name, page_size=1000)
            attempts = self.stub.ListAttempts(request, timeout=CALL_SECONDS).attempts
            after = self.stub.GetJob(service_pb2.GetJobRequest(name=name), timeout=CALL_SECONDS)
            if (before.state, before.attempt_count) == (after.state, after.attempt_count):
                return after, list(attempts)
            before = after

    def _watch(self, promise: Promise) -> None:
        """Follows a job to its end over every loss of the server: each event once, in order."""
        while not self._closing.is_set():
            cursor = f"{promise.uid.replace('-', '')}.{len(promise.events)}"
            call = self.stub.WatchJob(service_pb2.WatchJobRequest(name=promise.name, cursor=cursor))
            try:
                for message in call:
                    if message.HasField("event"):
                        self._note_event(promise, message.event)
                return
            except grpc.RpcError as error:
                if self._closing.is_set() or error.code() is grpc.StatusCode.NOT_FOUND:
                    return
                if error.code() not in AWAY:
                    self.faults.append(f"{promise.name}: the watch ended {error.code().name}, {error.details()}")
                    return
                self._closing.wait(0.2)
            finally:
                call.cancel()

    def _note_event(self, promise: Promise, event: job_pb2.Event) -> None:
        if event.number != len(promise.events) + 1:
            self.faults.append(f"{promise.name}: event {event.number} follows event {len(promise.events)}")
        states = [known.state for known in promise.events if known.state]
        if event.state and states and event.state not in NEXT_STATES[states[-1]]:
            self.faults.append(f"{promise.name}: {state_name(states[-1])} was followed by {state_name(event.state)}")
        for known in promise.events:
            again = known.epoch == event.epoch and known.kind == event.kind == Event.EPOCH_ENDED
            if again and dict(known.scalars) != dict(event.scalars):
                self.faults.append(f"{promise.name}: epoch {event.epoch} ended twice, and differently")
        promise.events.append(event)

    def read_everything(self) -> None:
        """Reads all that there is to read of every job when all have ended, and that there are no others."""
        listed: list[str] = []
        token = None
        while token != "":
            page = self.stub.ListJobs(service_pb2.ListJobsRequest(page_token=token or ""), timeout=CALL_SECONDS)
            listed += [job.name for job in page.jobs]
            token = page.next_page_token
        if sorted(listed) != sorted(self.promises):
            self.faults.append(f"there are {sorted(listed)} in place of {sorted(self.promises)}")
        for name in self.promises:
            try:
                self._read_everything_of(name)
            except grpc.RpcError as error:
                self.faults.append(f"{name} cannot be read: {error.code().name}, {error.details()}")

    def _read_everything_of(self, name: str) -> None:
        self.stub.ExplainJob(service_pb2.ExplainJobRequest(name=name), timeout=CALL_SECONDS)
        self.stub.ListCheckpoints(service_pb2.ListCheckpointsRequest(parent=name), timeout=CALL_SECONDS)
        self.stub.ListArtifacts(service_pb2.ListArtifactsRequest(parent=name), timeout=CALL_SECONDS)
        for stream, request in (
            (self.stub.StreamMetrics, service_pb2.StreamMetricsRequest(name=name)),
            (self.stub.StreamLogs, service_pb2.StreamLogsRequest(name=name)),
        ):
            for _ in stream(request, timeout=CALL_SECONDS):
                pass

    def wait_for_watches(self, seconds: float) -> None:
        """Returns once every watch has told the end of its job."""
        deadline = time.monotonic() + seconds
        for watcher in self._watchers:
            watcher.join(max(0.0, deadline - time.monotonic()))
            if watcher.is_alive():
                self.faults.append("a watch of a job that has ended does not end")
                return


def _faults_of(promise: Promise, job: job_pb2.Job, attempts: list[job_pb2.Attempt]) -> list[str]:
    """What one look shows that cannot be, or that contradicts an earlier look."""
    numbers = [attempt.number for attempt in attempts]
    live = [attempt.number for attempt in attempts if attempt.state != Attempt.ENDED]
    state, ended = state_name(job.state), job.state in TERMINAL_STATES
    checks = [
        (job.uid == promise.uid, f"is another job, {job.uid} instead of {promise.uid}"),
        (job.spec.SerializeToString(deterministic=True) == promise.spec, "has another spec"),
        (job.attempt_count >= promise.attempt_count, f"had {promise.attempt_count} attempts, has {job.attempt_count}"),
        (numbers == list(range(1, job.attempt_count + 1)), f"has attempts {numbers} of {job.attempt_count}"),
        (live == ([job.attempt_count] if job.state in LIVE_STATES else []), f"is {state} with live attempts {live}"),
        (job.HasField("export") == (job.state == Job.SUCCEEDED), f"is {state} with the export {job.export}"),
        (job.HasField("end_time") == ended, f"is {state} with the end {job.end_time}"),
        (not ended or job.state in promise.expected_ends, f"ended {state}: {job.state_message} {job.error}"),
    ]
    if (final := promise.final) is not None:
        for name in ("state", "state_reason", "state_message", "error", "export", "end_time", "attempt_count"):
            before, now = getattr(final, name), getattr(job, name)
            checks.append((before == now, f"had ended with {name} {before}, and has {now}"))
    return [told for holds, told in checks if not holds]
