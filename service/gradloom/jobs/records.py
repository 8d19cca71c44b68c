"""What the store hands out and takes in besides the messages of the wire.

Times are aware UTC; states and reasons are the numbers of `gradloom.v1` (`Job.State`, `Attempt.State`, `Job.Reason`).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import ENDING_STATES, JobName
from gradloom.jobs.manifest import checkpoint_id
from gradloom.v1 import job_pb2, spec_pb2


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits for devices."""

    uid: str
    name: JobName
    gpus: int | None
    """`resources.gpus` of its spec; None: every GPU the server owns, else one CPU slot."""
    cpu_replicas: int | None
    """`resources.cpu_replicas` of its spec: one CPU slot, split; None when the spec does not say."""
    priority: int
    sequence: int
    """Order of creation."""


@dataclass(frozen=True)
class AttemptRow:
    """An attempt as it is stored, with what a decision about its job needs to know."""

    uid: str
    """Of the job."""
    name: JobName
    number: int
    """From 1."""
    state: int
    """`Attempt.State`."""
    job_state: int
    """`Job.State`, read in the same transaction."""
    devices: tuple[str, ...]
    """Such as `GPU:0` or `CPU:0`; kept after the end."""
    devices_released: bool
    """The trainer said that its devices are free again, though it still runs."""
    artifact_root: str
    """Where the artifacts of this attempt's server lay when it was claimed."""
    stopping_reason: int
    """Why it is being ended (`Job.Reason`); REASON_UNSPECIFIED while nobody asked for it."""
    stopping_message: str
    """The same in a sentence."""
    is_training: bool
    """Its newest report tells of training or an evaluation: there is a state that it could save."""
    has_stepped: bool
    """Its first training step has ended."""
    global_step: int
    """Of its newest report."""
    trouble: str
    """Why its checkpoints cannot be written, by its newest report; empty when they can."""
    finish: attempt_pb2.FinishAttemptRequest | None
    """How the trainer said it ended; None when it has not said so."""
    beat: int
    """The newest report's counter: the trainer lives while it moves."""
    lease_owner: str
    lease_beat: int
    """The owner lives while this counter moves."""
    sequence: int
    """Order of creation of its job."""
    priority: int
    preemptible: bool
    run_seconds_left: float | None
    """How long the job may still hold devices, as stored; None without a limit."""
    max_attempts: int
    """`retry.max_attempts` of the spec."""
    counted_attempts: int
    """Ended attempts of the job that count against max_attempts; this one not before it has ended."""
    uncounted_attempts: int
    """Ended attempts that server or machine lost, since the newest one that got further than those before it."""
    advanced: bool
    """It put a checkpoint on record that goes beyond those of every earlier attempt."""
    queued_time: datetime
    """When the job last came into the queue before this attempt."""
    start_time: datetime

    @property
    def directory(self) -> Path:
        """The attempt's directory, below which everything lies that it writes."""
        return Path(self.artifact_root, self.uid, str(self.number))

    @property
    def full_name(self) -> str:
        """The resource name."""
        return self.name.attempt(self.number)

    @property
    def is_ending(self) -> bool:
        """It has said how it ended, or somebody has asked for its end."""
        return bool(self.stopping_reason) or self.job_state in ENDING_STATES or self.finish is not None


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended, as decided from what was reported and observed.

    Whether it counts follows from the reason (`gradloom.job.REASON_RULES`).
    """

    reason: int
    message: str
    error: job_pb2.JobError | None = None
    exit_code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    log_size_bytes: int | None = None
    """Of the whole log; None when it could not be read."""
    log_dropped_bytes: int | None = None
    backoff_seconds: float | None = None
    """How long the job waits before its next attempt, when there is one; None: not at all."""
    artifacts: tuple[job_pb2.Artifact, ...] = ()
    """Files to put on record whatever the job's next state is, such as the log: kind, size_bytes, sha256 and the path
    below the attempt's directory. The export's manifest is in `finish` and is put on record with SUCCEEDED alone."""


@dataclass(frozen=True)
class ReportOutcome:
    """What a report led to."""

    directive: attempt_pb2.ReportResponse.Directive
    """What to tell the trainer."""
    repeated: bool
    """The report had been stored before; its counts were counted then."""
    started_running: bool
    """This report took the job from STARTING to RUNNING."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint on record and where its file lies."""

    name: JobName
    """Of the job that wrote it."""
    uid: str
    """Of that job."""
    checkpoint: attempt_pb2.Checkpoint
    """`path` is below `directory`."""
    directory: Path
    """The attempt's."""

    @property
    def file(self) -> Path:
        """The file, absolute."""
        return self.directory / self.checkpoint.path

    @property
    def resource_name(self) -> str:
        """`projects/{project}/jobs/{job_id}/checkpoints/{checkpoint_id}`."""
        return self.name.checkpoint(checkpoint_id(self.checkpoint.attempt, self.checkpoint.path))

    def assigned(self) -> attempt_pb2.Checkpoint:
        """The checkpoint as a trainer finds it: its path is absolute, it and its job are named."""
        located = attempt_pb2.Checkpoint()
        located.CopyFrom(self.checkpoint)
        located.path, located.name = str(self.file), self.resource_name
        located.job, located.job_uid = str(self.name), self.uid
        return located


@dataclass(frozen=True)
class RetrySource:
    """What a job goes on from that RetryJob made from another one's checkpoint."""

    checkpoint: StoredCheckpoint
    best: StoredCheckpoint | None
    """The best one as of it."""
    resolved_spec: spec_pb2.ResolvedSpec
    """What the other job ran."""

    def assigned(self) -> attempt_pb2.Retry:
        """The same as a trainer finds it."""
        return attempt_pb2.Retry(
            checkpoint=self.checkpoint.assigned(),
            best=None if self.best is None else self.best.assigned(),
            resolved_spec=self.resolved_spec,
        )


@dataclass(frozen=True)
class Retried:
    """The job that RetryJob makes a new one from."""

    uid: str
    source: RetrySource | None
    """Where the new one goes on; None: from scratch."""


@dataclass(frozen=True)
class CheckpointOutcome:
    """What putting a checkpoint on record led to."""

    repeated: bool
    """It was on record before."""
    dropped: tuple[Path, ...] = ()
    """Files of older checkpoints that are on record no more: to be removed."""


@dataclass(frozen=True)
class JobSnapshot:
    """A job and its newest event's number, read at one moment."""

    uid: str
    job: job_pb2.Job
    event_number: int
    events: tuple[job_pb2.Event, ...] = ()
    """Those that were asked for, read at the same moment."""


@dataclass(frozen=True)
class ScalarsPage:
    """A part of a job's scalars by step, and where in them it ends, read at one moment."""

    points: list[job_pb2.ScalarsPoint]
    number: int
    """Of the last point that was looked at, be it among `points` or not."""
    more: bool
    """Whether others followed it."""
    ended: bool
    """Whether the job had ended, so that none will be recorded any more."""


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact and where its file lies."""

    artifact: job_pb2.Artifact
    uid: str
    """Of the job."""
    directory: Path
    """The attempt's directory; `artifact.path` is below it."""


@dataclass
class DeleteOutcome:
    """What a DeleteJob did."""

    job: job_pb2.Job | None = None
    """The job as it was; None for a repeated request and for a job that is missing."""
    ended: bool = False
    """It waited, and was cancelled by this."""


@dataclass(frozen=True)
class DeletedJob:
    """A tombstone whose attempts have ended."""

    uid: str
    artifact_roots: tuple[Path, ...]
    """Below each of them its attempts wrote into a directory of its uid."""

    @property
    def directories(self) -> list[Path]:
        """All that may be left of it on the disk."""
        return [root / self.uid for root in self.artifact_roots]
