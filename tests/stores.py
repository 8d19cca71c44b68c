"""What the tests of the store share: how to make each kind of store, and jobs, claims and reports to put into it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.records import AttemptOutcome, AttemptRow, CheckpointOutcome, DeleteOutcome
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2, spec_pb2

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda directory: Store.open(sqlite_url(directory)),
}
"""Every kind of store, by name; the contract holds for each."""


def sqlite_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'gradloom.db'}"


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_job(**resources: int) -> job_pb2.Job:
    spec = spec_pb2.JobSpec(model=spec_pb2.ModelSpec(name="net"))
    spec.retry.backoff.initial_duration.FromSeconds(0)
    if resources:
        spec.resources.CopyFrom(spec_pb2.ResourceSpec(**resources))
    return job_pb2.Job(display_name="a net", labels={"team": "vision"}, spec=spec)


def name_of(job_id: str, project: str = "default") -> JobName:
    return JobName(project, job_id)


def report(beat: int, phase: int = job_pb2.Progress.TRAINING, step: int = 0) -> attempt_pb2.ReportRequest:
    return attempt_pb2.ReportRequest(beat=beat, progress=job_pb2.Progress(phase=phase, global_step=step))


def epoch_ended(epoch: int, **scalars: float) -> job_pb2.Event:
    return job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=epoch, scalars=scalars)


def completed(number: int) -> attempt_pb2.FinishAttemptRequest:
    return attempt_pb2.FinishAttemptRequest(
        reason=job_pb2.Job.COMPLETED,
        message="proven",
        export=job_pb2.Export(model="net", version=number, path=f"/export/net/{number}", largest_difference=1e-7),
        artifacts=[
            job_pb2.Artifact(path=path, kind=job_pb2.Artifact.EXPORT, size_bytes=10, sha256=DIGEST)
            for path in (f"export/net/{number}/saved_model.pb", "export/net.keras")
        ],
    )


def a_checkpoint(step: int, **fields: object) -> attempt_pb2.Checkpoint:
    """As a trainer tells it; the digest follows from the step."""
    checkpoint = attempt_pb2.Checkpoint(
        path=f"checkpoints/{step}.ckpt", global_step=step, epoch=1 + step // 100, size_bytes=1000, sha256=f"{step:064x}"
    )
    checkpoint.MergeFrom(attempt_pb2.Checkpoint(**fields))  # type: ignore[arg-type]
    return checkpoint


def outcome(reason: int = job_pb2.Job.COMPLETED, **observed: object) -> AttemptOutcome:
    return AttemptOutcome(reason, f"ended for reason {reason}", **observed)  # type: ignore[arg-type]


@dataclass
class Desk:
    """A store with a clock that moves a second a call, so that a test reads as a story."""

    store: Store
    seconds: int = 0
    tokens: int = 0
    artifact_root: str = "/artifacts"

    def now(self) -> datetime:
        self.seconds += 1
        return after(self.seconds)

    def create(self, job_id: str, project: str = "default", **resources: int) -> job_pb2.Job:
        return self.submit(job_id, a_job(**resources), project)

    def submit(self, job_id: str, job: job_pb2.Job, project: str = "default") -> job_pb2.Job:
        return self.store.create_job(name_of(job_id, project), job, None, "", self.now())

    def cancel(self, job_id: str) -> job_pb2.Job:
        return self.store.cancel_job(name_of(job_id), None, "", self.now())

    def delete(self, job_id: str, *, force: bool = False, etag: str = "") -> DeleteOutcome:
        return self.store.delete_job(
            name_of(job_id),
            etag,
            force=force,
            allow_missing=False,
            request_id=None,
            request_digest="",
            now=self.now(),
        )

    def claim(self, uid: str, owner: str = "server") -> AttemptRow:
        self.tokens += 1
        claimed = self.store.claim(
            uid, ["CPU:0"], f"token-{self.tokens}", owner, self.now(), artifact_root=self.artifact_root
        )
        assert claimed is not None
        return claimed

    def run(self, job_id: str) -> AttemptRow:
        """Creates a job and has it RUNNING."""
        attempt = self.claim(self.create(job_id).uid)
        self.store.record_report(attempt.uid, attempt.number, report(1), self.now())
        return attempt

    def end(self, attempt: AttemptRow, how: AttemptOutcome, next_state: int) -> job_pb2.Job:
        return self.store.end_attempt(attempt.uid, attempt.number, how, next_state, self.now())

    def save(self, attempt: AttemptRow, step: int, **fields: object) -> CheckpointOutcome:
        """Puts a checkpoint on record."""
        return self.store.record_checkpoint(attempt.uid, attempt.number, a_checkpoint(step, **fields), self.now())

    def again(self, attempt: AttemptRow, reason: int = job_pb2.Job.KILLED_BY_SIGNAL) -> AttemptRow:
        """Ends an attempt and starts the next one."""
        self.end(attempt, outcome(reason), job_pb2.Job.QUEUED)
        return self.claim(attempt.uid)

    def succeed(self, attempt: AttemptRow) -> job_pb2.Job:
        self.store.finish_attempt(attempt.uid, attempt.number, completed(attempt.number), self.now())
        return self.end(attempt, outcome(), job_pb2.Job.SUCCEEDED)
