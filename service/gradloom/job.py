"""The life of a job: names, states and reasons. Every rule about them is a table here; nothing here does I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gradloom.v1 import job_pb2

State = job_pb2.Job.State
Reason = job_pb2.Job.Reason
AttemptState = job_pb2.Attempt.State

NEXT_STATES: Final[Mapping[int, frozenset[int]]] = {
    # FAILED: it waited too long for its first attempt.
    job_pb2.Job.QUEUED: frozenset(
        {job_pb2.Job.STARTING, job_pb2.Job.PAUSED, job_pb2.Job.CANCELLED, job_pb2.Job.FAILED}
    ),
    # Back to QUEUED: the attempt ended for a cause that is retried.
    job_pb2.Job.STARTING: frozenset(
        {
            job_pb2.Job.RUNNING,
            job_pb2.Job.QUEUED,
            job_pb2.Job.PAUSING,
            job_pb2.Job.CANCELLING,
            job_pb2.Job.FAILED,
            job_pb2.Job.SUCCEEDED,
        }
    ),
    job_pb2.Job.RUNNING: frozenset(
        {
            job_pb2.Job.QUEUED,
            job_pb2.Job.PAUSING,
            job_pb2.Job.CANCELLING,
            job_pb2.Job.SUCCEEDED,
            job_pb2.Job.FAILED,
        }
    ),
    # Not back to QUEUED: whatever ended the attempt, the job waits for its user.
    job_pb2.Job.PAUSING: frozenset(
        {job_pb2.Job.PAUSED, job_pb2.Job.CANCELLING, job_pb2.Job.SUCCEEDED, job_pb2.Job.FAILED}
    ),
    job_pb2.Job.PAUSED: frozenset({job_pb2.Job.QUEUED, job_pb2.Job.CANCELLED}),
    # A cancel always wins over the attempt's own end.
    job_pb2.Job.CANCELLING: frozenset({job_pb2.Job.CANCELLED}),
    job_pb2.Job.SUCCEEDED: frozenset(),
    job_pb2.Job.FAILED: frozenset(),
    job_pb2.Job.CANCELLED: frozenset(),
}
TERMINAL_STATES: Final = frozenset(state for state, following in NEXT_STATES.items() if not following)
ENDING_STATES: Final = frozenset({job_pb2.Job.PAUSING, job_pb2.Job.CANCELLING})
"""An attempt lives, and is being ended."""
LIVE_STATES: Final = ENDING_STATES | {job_pb2.Job.STARTING, job_pb2.Job.RUNNING}

DETAILS: Final = ("display_name", "labels", "priority")
"""What people say of a job beside its spec, and may change while it lives."""
LABEL_KEY: Final = re.compile(r"[a-z]([-_a-z0-9./]{0,62})")


class Fault(Enum):
    """Who an end is laid to, which decides what it counts against."""

    JOB = auto()
    """The job can have caused it: it counts against `retry.max_attempts`, and the next attempt waits."""
    MACHINE = auto()
    """The machine failed: it counts against MAX_UNCOUNTED_ATTEMPTS, and the next attempt waits."""
    LOSS = auto()
    """Server or machine was gone: it counts against MAX_UNCOUNTED_ATTEMPTS, and the next attempt does not wait."""
    NOBODY = auto()
    """It was asked for, or all is well: it counts against nothing."""


@dataclass(frozen=True)
class ReasonRule:
    """What an end for this reason means for the job."""

    retried: bool
    """Whether another attempt follows, as far as the limits allow."""
    fault: Fault

    @property
    def counted(self) -> bool:
        """Whether the attempt counts against `retry.max_attempts`."""
        return self.fault is Fault.JOB

    @property
    def lost(self) -> bool:
        """Whether it counts against MAX_UNCOUNTED_ATTEMPTS."""
        return self.fault in (Fault.MACHINE, Fault.LOSS)


REASON_RULES: Final[Mapping[int, ReasonRule]] = {
    job_pb2.Job.COMPLETED: ReasonRule(retried=False, fault=Fault.NOBODY),
    job_pb2.Job.SPEC_REFUSED: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.DATA_UNAVAILABLE: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.TRAINER_RAISED: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.OUT_OF_HOST_MEMORY: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.OUT_OF_DEVICE_MEMORY: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.KILLED_BY_SIGNAL: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.TRAINER_EXITED: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.TRAINER_LOST: ReasonRule(retried=True, fault=Fault.LOSS),
    job_pb2.Job.EXPORT_DISAGREED: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.DISK_FULL: ReasonRule(retried=True, fault=Fault.MACHINE),
    job_pb2.Job.ENVIRONMENT_CHANGED: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.SERVER_STOPPED: ReasonRule(retried=True, fault=Fault.LOSS),
    job_pb2.Job.LAUNCH_FAILED: ReasonRule(retried=True, fault=Fault.MACHINE),
    job_pb2.Job.CANCELLED_BY_USER: ReasonRule(retried=False, fault=Fault.NOBODY),
    job_pb2.Job.LOSS_NOT_FINITE: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.STEP_HUNG: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.USER_CODE_RAISED: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.DEADLINE_EXCEEDED: ReasonRule(retried=False, fault=Fault.JOB),
    job_pb2.Job.QUEUE_DEADLINE_EXCEEDED: ReasonRule(retried=False, fault=Fault.NOBODY),
    job_pb2.Job.PREEMPTED: ReasonRule(retried=True, fault=Fault.NOBODY),
    job_pb2.Job.PAUSED_BY_USER: ReasonRule(retried=True, fault=Fault.NOBODY),
    job_pb2.Job.TRAINER_SILENT: ReasonRule(retried=True, fault=Fault.JOB),
    job_pb2.Job.STAGE_HUNG: ReasonRule(retried=True, fault=Fault.JOB),
}

SAVING_REASONS: Final = frozenset(
    {job_pb2.Job.SERVER_STOPPED, job_pb2.Job.PAUSED_BY_USER, job_pb2.Job.PREEMPTED, job_pb2.Job.DEADLINE_EXCEEDED}
)
"""An attempt that is being ended for one of these saves a checkpoint first, if it trains."""

DEFAULT_PROJECT: Final = "default"
DEFAULT_MAX_ATTEMPTS: Final = 3
DEFAULT_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 300.0
DEFAULT_KEPT_CHECKPOINTS: Final = 2
MAX_UNCOUNTED_ATTEMPTS: Final = 20
"""After so many attempts that server or machine ended, none with a checkpoint beyond the last, the job fails."""

TOMBSTONE: Final = "~"
"""What the id of a deleted job begins with, which no user can say."""
ID_PATTERN: Final = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
ID_RULE: Final = "must match [a-z]([-a-z0-9]{0,38}[a-z0-9])?"


@dataclass(frozen=True, order=True)
class JobName:
    """The resource name of a job."""

    project: str
    job_id: str

    def __str__(self) -> str:
        return f"projects/{self.project}/jobs/{self.job_id}"

    @property
    def is_tombstone(self) -> bool:
        """Whether the job was deleted, and only what is left of it has this name."""
        return self.job_id.startswith(TOMBSTONE)

    def attempt(self, number: int) -> str:
        """The resource name of one of the job's attempts."""
        return f"{self}/attempts/{number}"

    def artifact(self, artifact_id: str) -> str:
        """The resource name of one of the job's artifacts."""
        return f"{self}/artifacts/{artifact_id}"

    def checkpoint(self, checkpoint_id: str) -> str:
        """The resource name of one of the job's checkpoints."""
        return f"{self}/checkpoints/{checkpoint_id}"

    @classmethod
    def parse_reference(cls, reference: str, project: str) -> "JobName":
        """Parses a full name, or a bare id of a job of the project; raises ValueError with the rule."""
        if "/" in reference:
            return cls.parse(reference)
        if ID_PATTERN.fullmatch(reference):
            return cls(project, reference)
        raise ValueError(f"must be the id of a job, or projects/{{project}}/jobs/{{job_id}}; got {reference!r}")

    @classmethod
    def parse(cls, name: str) -> "JobName":
        """Parses `projects/{project}/jobs/{job_id}`; raises ValueError with the rule."""
        match name.split("/"):
            case ["projects", project, "jobs", job_id] if ID_PATTERN.fullmatch(project) and ID_PATTERN.fullmatch(
                job_id
            ):
                return cls(project, job_id)
        raise ValueError(
            f"must be projects/{{project}}/jobs/{{job_id}}, each id {ID_RULE.removeprefix('must match ')}; got {name!r}"
        )


def state_name(state: int) -> str:
    """`RUNNING` for 2."""
    return State.Name(state)


def reason_name(reason: int) -> str:
    """`COMPLETED` for 1."""
    return Reason.Name(reason)
