"""Attempts that go on where the last one ended, failures by class, paused studies, devices set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what a resumed cell needs, and a row for each study there is."""
    for column in (
        sa.Column("failure_class", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", sa.DateTime),
        sa.Column("last_epoch", sa.Integer),
        sa.Column("run_key", sa.String(40)),
        sa.Column("micro_batches", sa.Integer, nullable=False, server_default="1"),
        sa.Column("lease_seconds", sa.Float),
    ):
        op.add_column("cells", column)
    op.create_table(
        "ledger_studies",
        sa.Column("study", sa.String(80), primary_key=True),
        sa.Column("document", sa.JSON),
        sa.Column("pause_reason", sa.Text),
        sa.Column("paused", sa.DateTime),
        sa.Column("experiment_id", sa.String(64)),
        sa.Column("study_run_id", sa.String(64)),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("updated", sa.DateTime, nullable=False),
    )
    op.create_table(
        "devices_aside",
        sa.Column("place", sa.String(255), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
    )
    op.execute(
        "INSERT INTO ledger_studies (study, created, updated)"
        " SELECT study, min(created), max(updated) FROM cells GROUP BY study"
    )
    # Before there were classes, exceptions alone made a cell fail, and leases held 60 s.
    op.execute("UPDATE cells SET failure_class = 'exception', failures = 1 WHERE state = 'FAIL'")
    op.execute("UPDATE cells SET lease_seconds = 60 WHERE state = 'RUNNING'")
