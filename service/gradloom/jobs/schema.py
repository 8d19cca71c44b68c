"""The tables. A change here needs a migration: a test compares what the migrations make with what stands here.

Small and often written rows are kept apart from large ones that never change (`specs`), because the database rewrites
whole rows. States, reasons and kinds are the numbers of the proto's enums; messages of the wire that are only ever
read whole are kept serialized.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator

from gradloom.v1 import job_pb2

HEAD: Final = "0003"
"""The newest revision in `migrations/versions`."""

IS_READY: Final = f"state = {job_pb2.Job.QUEUED} AND backoff_seconds IS NULL"
"""The job may start as soon as it fits. As text, like those below, for the index of just these jobs."""
BACKS_OFF: Final = f"state = {job_pb2.Job.QUEUED} AND backoff_seconds IS NOT NULL"
AWAITS_FIRST_ATTEMPT: Final = f"state = {job_pb2.Job.QUEUED} AND attempt_count = 0 AND queue_seconds_left IS NOT NULL"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UtcTime(TypeDecorator[datetime]):
    """An aware time as whole microseconds since 1970, which every database orders and none reinterprets."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Takes aware times only: subtracting a naive one is a TypeError."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Gives UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def _where(condition: str) -> dict[str, Any]:
    """Has an index hold those rows alone."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    # Order of creation, for "oldest first", "newest first" and the keys of pages.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    # JSON object of strings.
    Column("labels", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("state_reason", Integer, nullable=False),
    Column("state_message", Text, nullable=False),
    # JobError; of the last attempt of a FAILED job.
    Column("error", LargeBinary),
    # Export; of a SUCCEEDED job.
    Column("export", LargeBinary),
    # Number of the newest row in events, raised in the same UPDATE that changes the job.
    Column("event_number", BigInteger, nullable=False),
    # What the scheduler needs of the spec, so that a tick parses none.
    Column("gpus", Integer),
    Column("cpu_replicas", Integer),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("preemptible", Boolean, nullable=False, server_default=false()),
    Column("max_attempts", Integer, nullable=False),
    # Attempts started; those that ended and count; those that server or machine lost, since the last one that advanced.
    Column("attempt_count", Integer, nullable=False),
    Column("counted_attempts", Integer, nullable=False),
    Column("uncounted_attempts", Integer, nullable=False),
    # How long it waits before its next claim, from when a scheduler first sees it in the queue.
    Column("backoff_seconds", Double),
    # What is left of its limits, counted down by the scheduler while they apply, because wall clocks jump.
    Column("queue_seconds_left", Double),
    Column("run_seconds_left", Double),
    # spec.retention.ttl_duration; and, once the job has ended, what service.clock_seconds shows when it is deleted.
    Column("ttl_seconds", Double),
    Column("expires_at_seconds", Double),
    # Whether spec.retention may still take checkpoints of it away.
    Column("unsettled", Boolean, nullable=False, server_default=false()),
    # Resource names; empty for a job that RetryJob did not make, or from scratch.
    Column("retry_of", Text, nullable=False, server_default=text("''")),
    Column("retry_checkpoint", Text, nullable=False, server_default=text("''")),
    # Progress: epoch and global_step from which the next attempt goes on, and epochs and total_steps as last told. Set
    # when a job begins to wait that has something to go on from, or had an attempt.
    Column("place", LargeBinary),
    # Hidden from every read; its job_id is `~` and its uid, which no user can say. Goes when nothing of it is left.
    Column("deleted", Boolean, nullable=False, server_default=false()),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("queued_time", UtcTime, nullable=False),
    Column("start_time", UtcTime),
    Column("end_time", UtcTime),
    # What lists are ordered by: unset times come first, and NULL, which no key of a page could be compared with, never.
    Column("start_order", BigInteger, Computed("coalesce(start_time, 0)")),
    Column("end_order", BigInteger, Computed("coalesce(end_time, 0)")),
    # One number for each pair of gpus and cpu_replicas, so that the index of the queue leads from one to the next.
    Column("demand", BigInteger, Computed("coalesce(gpus, -1) * 65536 + coalesce(cpu_replicas, -1)")),
    UniqueConstraint("project", "job_id", name="jobs_by_name"),
    Index("jobs_by_project", "project", "sequence"),
    Index("jobs_by_state", "state", "sequence"),
    # The orders of lists.
    Index("jobs_by_update_time", "project", "update_time", "sequence"),
    Index("jobs_by_start_time", "project", "start_order", "sequence"),
    Index("jobs_by_end_time", "project", "end_order", "sequence"),
    Index("jobs_by_priority", "project", "priority", "sequence"),
    Index("jobs_by_display_name", "project", "display_name", "sequence"),
    Index("jobs_by_project_and_state", "project", "state", "sequence"),
    # Of the few that the housekeeper has work with.
    Index("jobs_deleted", "state", "sequence", sqlite_where=text("deleted = 1"), postgresql_where=text("deleted")),
    Index("jobs_unsettled", "state", sqlite_where=text("unsettled = 1"), postgresql_where=text("unsettled")),
    Index(
        "jobs_to_expire",
        "expires_at_seconds",
        "state",
        sqlite_where=text("ttl_seconds IS NOT NULL"),
        postgresql_where=text("ttl_seconds IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
# The order of the queue, for each demand. These are indexes of few rows, however many jobs there are.
Index(
    "jobs_ready",
    *(jobs.c.demand, jobs.c.priority.desc(), jobs.c.sequence),
    # So that which demands there are, and how many jobs of each, is read from the index alone.
    *(jobs.c.state, jobs.c.backoff_seconds),
    **_where(IS_READY),
)
Index("jobs_that_back_off", jobs.c.backoff_seconds, **_where(BACKS_OFF))
Index("jobs_with_a_queue_limit", jobs.c.queue_seconds_left, **_where(AWAITS_FIRST_ATTEMPT))

specs = Table(
    "specs",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    # JobSpec; never changes.
    Column("spec", LargeBinary, nullable=False),
    # ResolvedSpec; set once, by the first attempt that gets so far.
    Column("resolved_spec", LargeBinary),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Integer, nullable=False),
    # Why it is being ended or has ended.
    Column("reason", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("error", LargeBinary),
    Column("counted", Boolean),
    # JSON list of names.
    Column("devices", Text, nullable=False),
    Column("devices_released", Boolean, nullable=False),
    Column("artifact_root", Text, nullable=False),
    Column("token_digest", Text, nullable=False, unique=True),
    Column("lease_owner", Text, nullable=False),
    Column("lease_beat", BigInteger, nullable=False),
    # The trainer's newest report: its counter, its Progress, and how many events and points of this attempt are stored.
    Column("beat", BigInteger, nullable=False),
    Column("progress", LargeBinary),
    Column("reported_events", BigInteger, nullable=False),
    # FinishAttemptRequest; the first that came.
    Column("finish", LargeBinary),
    Column("reported_points", BigInteger, nullable=False, server_default=text("0")),
    # Resource names of the checkpoint that it went on from, and of the newest that it put on record; both may be gone.
    Column("checkpoint_in", Text),
    Column("checkpoint_out", Text),
    # Of its log, once it has ended.
    Column("log_size_bytes", BigInteger),
    Column("log_dropped_bytes", BigInteger),
    # Whether it put a checkpoint on record that goes beyond those of every earlier attempt.
    Column("advanced", Boolean, nullable=False, server_default=false()),
    # Whether the files of ended attempts that are on no record were removed after its end.
    Column("swept", Boolean, nullable=False, server_default=false()),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("peak_memory_bytes", BigInteger),
    Column("cpu_seconds", Double),
    Column("queued_time", UtcTime, nullable=False),
    Column("start_time", UtcTime, nullable=False),
    Column("end_time", UtcTime),
    Index("attempts_by_state", "state"),
    # A job has at most one live attempt: the database itself refuses a second.
    Index(
        "attempts_live",
        "job_uid",
        unique=True,
        sqlite_where=text(f"state <> {job_pb2.Attempt.ENDED}"),
        postgresql_where=text(f"state <> {job_pb2.Attempt.ENDED}"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("time", UtcTime, nullable=False),
    Column("kind", Integer, nullable=False),
    # 0 for none.
    Column("attempt", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("reason", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("epoch", Integer),
    # JSON object of numbers as Python writes it, NaN and Infinity included, which is why it is not a JSON column.
    Column("scalars", Text),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_uid", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # Below the attempt's directory.
    Column("path", Text, primary_key=True),
    Column("artifact_id", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    ForeignKeyConstraint(["job_uid", "attempt"], ["attempts.job_uid", "attempts.number"]),
    UniqueConstraint("job_uid", "artifact_id", name="artifacts_by_id"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_uid", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # Below the attempt's directory.
    Column("path", Text, primary_key=True),
    Column("global_step", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    # Written at the end of the best epoch so far.
    Column("best", Boolean, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("time", UtcTime, nullable=False),
    ForeignKeyConstraint(["job_uid", "attempt"], ["attempts.job_uid", "attempts.number"]),
)

initial_weights = Table(
    "initial_weights",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    # The checkpoint of another job, chosen when this one was created. It stays while this one has not ended; what comes
    # later is not this table's business, so nothing refers to its row.
    Column("source_uid", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Index("initial_weights_by_source", "source_uid"),
)

retry_sources = Table(
    "retry_sources",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    # The checkpoint of another job that this one goes on from; it stays as in initial_weights, with the best as of it.
    Column("source_uid", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Index("retry_sources_by_source", "source_uid"),
)

scalars = Table(
    "scalars",
    metadata,
    Column("job_uid", Text, ForeignKey("jobs.uid"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("time", UtcTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("global_step", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("epoch_end", Boolean, nullable=False),
    # As in events.
    Column("scalars", Text, nullable=False),
    UniqueConstraint("job_uid", "global_step", "epoch_end", name="scalars_by_step"),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("method", Text, nullable=False),
    # Of the request's body.
    Column("digest", Text, nullable=False),
    # May be gone: the repeat of a DeleteJob finds its first result.
    Column("job_uid", Text, nullable=False),
    # The Job that was returned, without spec and resolved_spec.
    Column("response", LargeBinary, nullable=False),
    # When it was made; 1970 once it is the next to be forgotten.
    Column("time", UtcTime, nullable=False),
    Index("requests_by_time", "time"),
)

service = Table(
    "service",
    metadata,
    # One row.
    Column("id", Integer, primary_key=True, autoincrement=False),
    # For how long servers have run over it, all together: what must outlive a restart is measured by it.
    Column("clock_seconds", Double, nullable=False),
)
