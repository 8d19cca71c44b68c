"""A scheduler over the real store, with a clock and a launcher of the test's: hours pass in no time."""

from dataclasses import dataclass, field
from pathlib import Path

from gradloom.attempt.v1 import attempt_pb2
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart, Ended, LaunchError, Lost, Observation
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.scheduler import Scheduler
from gradloom.jobs.timing import Timing
from gradloom.supervisor.attempt_directory import AttemptDirectory, ExitRecord
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_job, name_of, report

Job = job_pb2.Job
TICK_SECONDS = 1.0


@dataclass
class Clock:
    """Monotonic time that passes when the test says so."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Trainers:
    """A launcher whose attempts live until they are told to stop, or the test ends them."""

    def __init__(self) -> None:
        self.ended: dict[Path, ExitRecord] = {}
        self.stopped: list[Path] = []
        self.refusal = ""
        """Why nothing can be started, while it says so."""

    def start(self, start: AttemptStart) -> None:
        if self.refusal:
            raise LaunchError(self.refusal)
        AttemptDirectory(start.directory).create()
        AttemptDirectory(start.directory).log.touch()

    def observe(self, directory: Path) -> Observation:
        if directory in self.ended:
            return Ended(self.ended[directory])
        return Alive() if directory.exists() else Lost()

    def stop(self, directory: Path, grace_seconds: float) -> None:
        self.stopped.append(directory)
        self.ended[directory] = ExitRecord(signal=15, stopped=True)

    def kill_leftovers(self, directory: Path) -> bool:
        return True

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Stage:
    """Jobs, attempts that do as the test says, and servers that follow each other."""

    root: Path
    devices: Devices = field(default_factory=lambda: Devices((), 1))
    timing: Timing = field(default_factory=Timing)
    clock: Clock = field(default_factory=Clock)
    trainers: Trainers = field(default_factory=Trainers)
    free_bytes: int = 1 << 40
    """On the disk of the artifacts."""

    def __post_init__(self) -> None:
        self.store = STORES["sqlite"](self.root)
        self.desk = Desk(self.store)
        self.serve()

    def serve(self) -> None:
        """Starts a server over what the one before left, which may have been killed."""
        self.hearing = Hearing(self.clock)
        self.disks = Disks({"--artifact-root": self.root}, lambda path: self.free_bytes)
        self.instruments = Instruments(60.0, self.clock)
        self.scheduler = Scheduler(
            self.store,
            self.trainers,
            self.devices,
            self.instruments,
            artifact_root=self.root / "artifacts",
            trainer_address="unix:/nowhere.sock",
            timing=self.timing,
            hearing=self.hearing,
            disks=self.disks,
            clock=self.clock,
        )
        self.scheduler.adopt()

    def submit(self, job_id: str, priority: int = 0, **options: object) -> job_pb2.Job:
        """Creates a job; `gpus`, `preemptible`, `max_run`, `max_queue`, `first_backoff` (seconds)."""
        job = a_job(**{key: value for key, value in options.items() if key == "gpus"})  # type: ignore[misc]
        job.priority = priority
        job.spec.scheduling.preemptible = bool(options.get("preemptible"))
        for name, duration in (
            ("max_run", job.spec.scheduling.max_run_duration),
            ("max_queue", job.spec.scheduling.max_queue_duration),
            ("first_backoff", job.spec.retry.backoff.initial_duration),
        ):
            if name in options:
                duration.FromNanoseconds(int(float(options[name]) * 1e9))  # type: ignore[arg-type]
        return self.desk.submit(job_id, job)

    def tick(self, seconds: float = 0.0) -> None:
        """Ticks as a server does, for so long; once in any case."""
        until = self.clock.seconds + seconds
        self.scheduler.tick(self.desk.now())
        while self.clock.seconds < until:
            self.clock.seconds += TICK_SECONDS
            self.scheduler.tick(self.desk.now())

    def attempt(self, job_id: str) -> AttemptRow:
        """The job's newest attempt."""
        return self.store.attempts_of(self.store.snapshot(name_of(job_id)).uid)[-1]

    def report(self, job_id: str, phase: int = job_pb2.Progress.TRAINING) -> attempt_pb2.ReportResponse.Directive:
        """The trainer of a job's attempt reports, and is told what to do."""
        attempt = self.attempt(job_id)
        self.hearing.heard(attempt.uid, attempt.number)
        look = report(attempt.beat + 1, phase, step=10)
        return self.store.record_report(attempt.uid, attempt.number, look, self.desk.now()).directive

    def end(self, job_id: str, **record: object) -> None:
        """The job's trainer ends so."""
        self.trainers.ended[self.attempt(job_id).directory] = ExitRecord(**record)  # type: ignore[arg-type]

    def job(self, job_id: str) -> job_pb2.Job:
        return self.store.get_job(name_of(job_id))

    def states(self) -> dict[str, str]:
        """Every job's state by its id."""
        listed, _ = self.store.list_jobs("default")
        return {job.name.rpartition("/")[2]: Job.State.Name(job.state) for job in listed}

    def reasons(self, job_id: str) -> list[str]:
        """Why each attempt of a job ended, in order; the last may live."""
        attempts, _ = self.store.list_attempts(name_of(job_id))
        return [Job.Reason.Name(attempt.reason) for attempt in attempts]
