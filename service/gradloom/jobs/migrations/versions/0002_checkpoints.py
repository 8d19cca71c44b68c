"""Checkpoints, and the initial weights that jobs take from those of others.

Frozen: nothing of the package is imported here, so that this revision stays what it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("advanced", "swept"):
        op.add_column("attempts", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "checkpoints",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("global_step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("best", sa.Boolean(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_uid", "attempt"],
            ["attempts.job_uid", "attempts.number"],
        ),
        sa.PrimaryKeyConstraint("job_uid", "attempt", "path"),
    )
    op.create_table(
        "initial_weights",
        sa.Column("job_uid", sa.Text(), nullable=False),
        sa.Column("source_uid", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_uid"],
            ["jobs.uid"],
        ),
        sa.PrimaryKeyConstraint("job_uid"),
    )
    op.create_index("initial_weights_by_source", "initial_weights", ["source_uid"], unique=False)


def downgrade() -> None:
    for table in ("initial_weights", "checkpoints"):
        op.drop_table(table)
    for name in ("swept", "advanced"):
        op.drop_column("attempts", name)
