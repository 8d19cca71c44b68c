"""Jobs, their specs, attempts, events and artifacts, and the requests that made them.

Frozen: nothing of the package is imported here, so that this revision stays what it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Integer(), nullable=False),
        sa.Column("state_message", sa.Text(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("export", sa.LargeBinary(), nullable=True),
        sa.Column("event_number", sa.BigInteger(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=True),
        sa.Column("cpu_replicas", sa.Integer(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("counted_attempts", sa.Integer(), nullable=False),
        sa.Column("uncounted_attempts", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("queued_time", sa.BigInteger(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("project", "job_id", name="jobs_by_name"),
        sa.UniqueConstraint("uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_project", "jobs", ["project", "sequence"], unique=False)
    op.create_index("jobs_by_state", "jobs", ["state", "sequence"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=True),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("devices_released", sa.Boolean(), nullable=False),
        sa.Column("artifact_root", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=False),
        sa.Column("lease_beat", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.LargeBinary(), nullable=True),
        sa.Column("reported_events", sa.BigInteger(), nullable=False),
        sa.Column("finish", sa.LargeBinary(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cpu_seconds", sa.Double(), nullable=True),
        sa.Column("queued_time", sa.BigInteger(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_uid"],
            ["jobs.uid"],
        ),
        sa.PrimaryKeyConstraint("job_uid", "number"),
        sa.UniqueConstraint("token_digest"),
    )
    op.create_index("attempts_by_state", "attempts", ["state"], unique=False)
    op.create_index(
        "attempts_live",
        "attempts",
        ["job_uid"],
        unique=True,
        sqlite_where=sa.text("state <> 4"),
        postgresql_where=sa.text("state <> 4"),
    )
    op.create_table(
        "events",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("scalars", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_uid"],
            ["jobs.uid"],
        ),
        sa.PrimaryKeyConstraint("job_uid", "number"),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_uid"],
            ["jobs.uid"],
        ),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("requests_by_time", "requests", ["time"], unique=False)
    op.create_table(
        "specs",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("resolved_spec", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_uid"],
            ["jobs.uid"],
        ),
        sa.PrimaryKeyConstraint("job_uid"),
    )
    op.create_table(
        "artifacts",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_uid", "attempt"],
            ["attempts.job_uid", "attempts.number"],
        ),
        sa.PrimaryKeyConstraint("job_uid", "attempt", "path"),
        sa.UniqueConstraint("job_uid", "artifact_id", name="artifacts_by_id"),
    )


def downgrade() -> None:
    for table in ("artifacts", "specs", "requests", "events", "attempts", "jobs"):
        op.drop_table(table)
