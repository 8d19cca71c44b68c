"""The store: everything that must outlive the server, in one database.

All methods are synchronous, may be called from any thread, and never from the event loop (a write waits for the disk). `now` is always
an aware UTC datetime. After each commit that touched a job, the hub is told its uid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.events import Hub
from gradloom.jobs.records import (
    AttemptOutcome,
    AttemptRow,
    JobSnapshot,
    QueuedJob,
    ReportOutcome,
    StoredArtifact,
)
from gradloom.v1 import job_pb2, service_pb2

BASIC = service_pb2.JobView.BASIC
FULL = service_pb2.JobView.FULL


class Store:
    """Jobs, attempts, events and artifacts in a database."""

    hub: Hub
    """Told of every job that changed."""

    @classmethod
    def open(cls, url: str, hub: Hub | None = None) -> Store:
        """Opens the database and upgrades its schema to the newest; creates it when there is none.

        `url` is SQLAlchemy's, such as `sqlite:////var/lib/gradloom/gradloom.db`. Raises StoreUnusableError (gradloom.jobs.database) with
        the cause for a database that cannot be opened, is not ours or has a newer schema.
        """
        raise NotImplementedError

    def close(self) -> None: ...

    # Jobs, as users see them

    def create_job(
        self, name: JobName, job: job_pb2.Job, request_id: str | None, request_digest: str, now: datetime
    ) -> job_pb2.Job:
        """Stores a new QUEUED job; durable when it returns. Gives it its uid.

        Takes display_name, labels and spec from `job`. The same request_id returns what the first call returned; with another
        digest: InvalidRequestError on `request_id`. A taken name: AlreadyExistsError.
        """
        raise NotImplementedError

    def cancel_job(self, name: JobName, request_id: str | None, request_digest: str, now: datetime) -> job_pb2.Job:
        """QUEUED becomes CANCELLED, STARTING and RUNNING become CANCELLING; nothing changes for CANCELLING and CANCELLED.

        Raises NotFoundError, WrongStateError for SUCCEEDED and FAILED, InvalidRequestError as create_job does.
        """
        raise NotImplementedError

    def get_job(self, name: JobName, view: int = FULL) -> job_pb2.Job:
        """Raises NotFoundError."""
        raise NotImplementedError

    def snapshot(self, name: JobName, view: int = BASIC) -> JobSnapshot:
        """The job and the number of its newest event, read together. Raises NotFoundError."""
        raise NotImplementedError

    def snapshot_by_uid(self, uid: str, view: int = BASIC) -> JobSnapshot:
        """The same by uid. Raises NotFoundError."""
        raise NotImplementedError

    def list_jobs(
        self, project: str, page_size: int = 0, page_token: str = "", view: int = BASIC
    ) -> tuple[list[job_pb2.Job], str]:
        """A page of a project's jobs, newest first, and the next page's token, empty at the end.

        Takes page_size as the request says it (0: 50; at most 1,000). InvalidRequestError on `page_size` when negative, on
        `page_token` when it was not given out for this query.
        """
        raise NotImplementedError

    def events_after(self, uid: str, number: int, limit: int = 100) -> list[job_pb2.Event]:
        """The events that follow event `number`, in order. CursorExpiredError when the job never had that number; NotFoundError."""
        raise NotImplementedError

    def list_attempts(
        self, name: JobName, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[job_pb2.Attempt], str]:
        """A page of the job's attempts, oldest first. Raises NotFoundError, and InvalidRequestError as list_jobs does."""
        raise NotImplementedError

    def list_artifacts(
        self, name: JobName, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[job_pb2.Artifact], str]:
        """A page of the job's artifacts by attempt and path. Raises NotFoundError, and InvalidRequestError as list_jobs does."""
        raise NotImplementedError

    def get_artifact(self, name: JobName, artifact_id: str) -> StoredArtifact:
        """Raises NotFoundError."""
        raise NotImplementedError

    def count_jobs_by_state(self) -> Mapping[int, int]:
        """Every state with its number of jobs, zeros included."""
        raise NotImplementedError

    # Attempts, as the scheduler sees them

    def queued_jobs(self, limit: int | None = None) -> Sequence[QueuedJob]:
        """The jobs that wait, oldest first."""
        raise NotImplementedError

    def live_attempts(self) -> Sequence[AttemptRow]:
        """Every attempt that has not ended, oldest first."""
        raise NotImplementedError

    def attempts_of(self, uid: str) -> Sequence[AttemptRow]:
        """Every attempt of a job, oldest first, ended ones too (where its logs lie). Empty for an unknown uid."""
        raise NotImplementedError

    def claim(
        self,
        uid: str,
        devices: Sequence[str],
        token_digest: str,
        lease_owner: str,
        now: datetime,
        *,
        artifact_root: str,
    ) -> AttemptRow | None:
        """Takes a QUEUED job to STARTING and begins its next attempt; None when it no longer waits.

        `token_digest` is any text that only this attempt's token gives, such as its sha256 in hex.
        """
        raise NotImplementedError

    def mark_stopping(self, uid: str, number: int, reason: int) -> bool:
        """Notes that a live attempt is being ended, and why; its reports are answered with STOP from now on.

        The first reason stands. False when the attempt has ended or is being ended already.
        """
        raise NotImplementedError

    def end_attempt(
        self, uid: str, number: int, outcome: AttemptOutcome, next_state: int, now: datetime
    ) -> job_pb2.Job:
        """Ends a live attempt and takes its job to `next_state` (QUEUED or a terminal one), in one transaction.

        SUCCEEDED needs the attempt's finish with COMPLETED and puts its export and manifest on record. Raises AttemptSupersededError when
        the attempt is no longer live, WrongStateError when the job cannot go there any more (a cancel came first): then nothing
        changed, and the caller reads again and decides again. Returns the job without its spec.
        """
        raise NotImplementedError

    def renew_leases(self, owner: str, beat: int) -> None:
        """Moves the counter of every live attempt of the owner."""
        raise NotImplementedError

    def take_over(self, owner: str) -> Sequence[AttemptRow]:
        """Makes the owner that of every live attempt, and returns them: for a server that starts and holds the data directory."""
        raise NotImplementedError

    # Attempts, as their trainers see them. Each raises AttemptSupersededError when the attempt is no longer its job's live one.

    def attempt_by_token(self, token_digest: str) -> AttemptRow:
        """The live attempt that holds the token. PermissionDeniedError for one that was never given, else AttemptSupersededError."""
        raise NotImplementedError

    def record_resolved_spec(
        self, uid: str, number: int, resolved_spec: job_pb2.spec__pb2.ResolvedSpec, now: datetime
    ) -> None:
        """Stores what runs; a repeat with the same content is fine, with another WrongStateError."""
        raise NotImplementedError

    def record_report(self, uid: str, number: int, report: attempt_pb2.ReportRequest, now: datetime) -> ReportOutcome:
        """Stores a look: progress, new events, released devices; the first one beyond PREPARING makes the job RUNNING.

        InvalidRequestError on `event_offset` when events before it are missing. Cheap without events: then not flushed to the disk.
        """
        raise NotImplementedError

    def finish_attempt(self, uid: str, number: int, finish: attempt_pb2.FinishAttemptRequest, now: datetime) -> None:
        """Keeps how the trainer ended, with its manifest; the first one stands. The job ends when end_attempt says so.

        InvalidRequestError for a manifest whose paths are not clean relative ones, or repeat.
        """
        raise NotImplementedError
