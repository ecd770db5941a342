"""The ledger's tables, beside Optuna's in one database.

`cells` holds one row a (study, cell): the truth about the grid. `ledger_studies` holds what is true of a
study as a whole, `devices_aside` the devices that failed. `ledger_version` says which schema a
database has; it has the shape of an Alembic version table, under a name of its own since
`alembic_version` is Optuna's. A column added here is added by a migration too (`migrations/`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Column, DateTime, Dialect, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

SCHEMA = "0002"
"""The schema this program writes; an older one is migrated, a newer one refused."""

KNOWN_SCHEMAS = ("0001", SCHEMA)


class Moment(TypeDecorator[datetime]):
    """A point in time: aware in Python, naive UTC in the database (SQLite keeps no zone)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Drop the zone, after going to UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Put UTC back."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData()

cells = Table(
    "cells",
    metadata,
    Column("study", String(80), primary_key=True),
    Column("cell_id", String(12), primary_key=True),
    Column("name", Text, nullable=False),
    Column("point", JSON, nullable=False),
    Column("identity", JSON, nullable=False),
    Column("position", Integer, nullable=False),
    Column("in_grid", Boolean, nullable=False),
    Column("state", String(8), nullable=False),
    Column("worker", Text),
    Column("lease_expires", Moment),
    Column("token", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("failure_class", Text),
    Column("failure_kind", Text),
    Column("failure_message", Text),
    Column("trial_id", Integer),
    Column("trial_number", Integer),
    Column("run_id", String(64)),
    Column("metrics", JSON(none_as_null=True)),
    Column("seconds", Float),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
    Column("started", Moment),
    Column("finished", Moment),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("not_before", Moment),
    Column("last_epoch", Integer),
    Column("run_key", String(40)),
    Column("micro_batches", Integer, nullable=False, server_default="1"),
    Column("lease_seconds", Float),
    # The queue: the first waiting cell of a study, in the order of its grid.
    Index("cells_queue", "study", "state", "position"),
)

ledger_studies = Table(
    "ledger_studies",
    metadata,
    Column("study", String(80), primary_key=True),
    Column("document", JSON(none_as_null=True)),
    Column("pause_reason", Text),
    Column("paused", Moment),
    Column("experiment_id", String(64)),
    Column("study_run_id", String(64)),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
)

devices_aside = Table(
    "devices_aside",
    metadata,
    Column("place", String(255), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Moment, nullable=False),
)

ledger_version = Table("ledger_version", metadata, Column("version_num", String(32), primary_key=True))
