"""Priorities, limits, retries, deletion, and scalars by step.

Frozen: nothing of the package is imported here, so that this revision stays what it was.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INDEXES_OF_JOBS = {
    "jobs_by_update_time": ["project", "update_time", "sequence"],
    "jobs_by_start_time": ["project", "start_order", "sequence"],
    "jobs_by_end_time": ["project", "end_order", "sequence"],
    "jobs_by_priority": ["project", "priority", "sequence"],
    "jobs_by_display_name": ["project", "display_name", "sequence"],
    "jobs_by_project_and_state": ["project", "state", "sequence"],
}


# 1 is QUEUED.
_INDEXES_OF_WAITING_JOBS = (
    (
        "jobs_ready",
        ("demand", "priority DESC", "sequence", "state", "backoff_seconds"),
        "state = 1 AND backoff_seconds IS NULL",
    ),
    ("jobs_that_back_off", ("backoff_seconds",), "state = 1 AND backoff_seconds IS NOT NULL"),
    (
        "jobs_with_a_queue_limit",
        ("queue_seconds_left",),
        "state = 1 AND attempt_count = 0 AND queue_seconds_left IS NOT NULL",
    ),
)


def _columns_of_jobs() -> list[sa.Column[Any]]:
    return [
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("preemptible", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("backoff_seconds", sa.Double()),
        sa.Column("queue_seconds_left", sa.Double()),
        sa.Column("run_seconds_left", sa.Double()),
        sa.Column("ttl_seconds", sa.Double()),
        sa.Column("expires_at_seconds", sa.Double()),
        sa.Column("unsettled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("retry_of", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("retry_checkpoint", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("place", sa.LargeBinary()),
        sa.Column("deleted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("start_order", sa.BigInteger(), sa.Computed("coalesce(start_time, 0)")),
        sa.Column("end_order", sa.BigInteger(), sa.Computed("coalesce(end_time, 0)")),
        sa.Column("demand", sa.BigInteger(), sa.Computed("coalesce(gpus, -1) * 65536 + coalesce(cpu_replicas, -1)")),
    ]


def _columns_of_attempts() -> list[sa.Column[Any]]:
    return [
        sa.Column("reported_points", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("checkpoint_in", sa.Text()),
        sa.Column("checkpoint_out", sa.Text()),
        sa.Column("log_size_bytes", sa.BigInteger()),
        sa.Column("log_dropped_bytes", sa.BigInteger()),
    ]


def upgrade() -> None:
    for column in _columns_of_jobs():
        op.add_column("jobs", column)
    for column in _columns_of_attempts():
        op.add_column("attempts", column)
    for name, columns in _INDEXES_OF_JOBS.items():
        op.create_index(name, "jobs", columns, unique=False)
    for name, of_waiting, condition in _INDEXES_OF_WAITING_JOBS:
        where = sa.text(condition)
        expressions = [sa.text(column) for column in of_waiting]
        op.create_index(name, "jobs", expressions, unique=False, sqlite_where=where, postgresql_where=where)
    _create_index("jobs_deleted", ["state", "sequence"], sqlite="deleted = 1", postgresql="deleted")
    _create_index("jobs_unsettled", ["state"], sqlite="unsettled = 1", postgresql="unsettled")
    has_ttl = "ttl_seconds IS NOT NULL"
    _create_index("jobs_to_expire", ["expires_at_seconds", "state"], sqlite=has_ttl, postgresql=has_ttl)
    op.create_table(
        "service",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("clock_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "retry_sources",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("source_uid", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_uid"], ["jobs.uid"]),
        sa.PrimaryKeyConstraint("job_uid"),
    )
    op.create_index("retry_sources_by_source", "retry_sources", ["source_uid"], unique=False)
    op.create_table(
        "scalars",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("global_step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("epoch_end", sa.Boolean(), nullable=False),
        sa.Column("scalars", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_uid"], ["jobs.uid"]),
        sa.PrimaryKeyConstraint("job_uid", "number"),
        sa.UniqueConstraint("job_uid", "global_step", "epoch_end", name="scalars_by_step"),
    )
    _replace_requests(())


def downgrade() -> None:
    _replace_requests((sa.ForeignKeyConstraint(["job_uid"], ["jobs.uid"]),))
    for table in ("scalars", "retry_sources", "service"):
        op.drop_table(table)
    for name in (*_INDEXES_OF_JOBS, *(name for name, _, _ in _INDEXES_OF_WAITING_JOBS)):
        op.drop_index(name, "jobs")
    for name in ("jobs_deleted", "jobs_unsettled", "jobs_to_expire"):
        op.drop_index(name, "jobs")
    for column in reversed(_columns_of_attempts()):
        op.drop_column("attempts", column.name)
    for column in reversed(_columns_of_jobs()):
        op.drop_column("jobs", column.name)


def _create_index(name: str, columns: list[str], *, sqlite: str, postgresql: str) -> None:
    """Of those jobs alone for which the condition holds."""
    op.create_index(
        name, "jobs", columns, unique=False, sqlite_where=sa.text(sqlite), postgresql_where=sa.text(postgresql)
    )


def _replace_requests(constraints: tuple[sa.ForeignKeyConstraint, ...]) -> None:
    """Makes the table anew, for SQLite changes no constraint of one that is there."""
    op.drop_index("requests_by_time", "requests")
    op.rename_table("requests", "requests_before")
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        *constraints,
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.execute("INSERT INTO requests SELECT request_id, method, digest, job_uid, response, time FROM requests_before")
    op.drop_table("requests_before")
    op.create_index("requests_by_time", "requests", ["time"], unique=False)
