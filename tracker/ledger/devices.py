"""Devices that failed, so that no worker of any study takes a cell on them until a person has looked."""

from __future__ import annotations

from sqlalchemy import delete, select

from tracker.ledger.database import Database
from tracker.ledger.rows import AsideDevice
from tracker.ledger.tables import devices_aside


class Devices:
    """The devices set aside, in the trial database; `Ledger.devices`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_aside(self, place: str, reason: str) -> None:
        """Keep a device from being used by any worker that asks; one that is set aside gets the new reason.

        Args:
            place: host and device, `node7/GPU-6f1c...`.
        """
        with self._database.writing() as connection:
            since = self._database.now(connection)
            self._database.upsert(connection, devices_aside, {"place": place}, reason=reason, since=since)

    def aside(self) -> list[AsideDevice]:
        """Return the devices that were set aside, by place."""
        with self._database.reading() as connection:
            found = connection.execute(select(devices_aside).order_by(devices_aside.c.place))
            return [AsideDevice(**row._asdict()) for row in found]

    def take_back(self, place: str) -> bool:
        """Let a device be used again; False where it was not set aside."""
        with self._database.writing() as connection:
            return connection.execute(delete(devices_aside).where(devices_aside.c.place == place)).rowcount > 0
