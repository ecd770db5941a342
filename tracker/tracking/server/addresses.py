"""Where a home's runs are written and read: an address, or MLflow's SQLite file."""

from __future__ import annotations

import os

from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.study.printing import shown
from tracker.tracking.server.health import answers
from tracker.tracking.server.record import read_record
from tracker.tracking.server.storage import BACKEND_VARIABLE, without_password
from tracker.tracking.server.storage import database_uri as database_uri
from tracker.tracking.server.upgrading import bring_up_to_date

URI_VARIABLE = "MLFLOW_TRACKING_URI"
UI_VARIABLE = "TRACKER_UI_URL"


def reading_uri(home: Home) -> str:
    """Return where to read runs from: MLFLOW_TRACKING_URI, the running server, or its SQLite file without one.

    Raises:
        TrackingError: MLFLOW_TRACKING_URI does not answer, or nothing has been run in this home yet.
    """
    if given := os.environ.get(URI_VARIABLE):
        return checked(given)
    record = read_record(home)
    if record is not None and record.alive() and answers(record.uri):
        return record.uri
    return _without_server(home)


def bulk_reading_uri(home: Home) -> str:
    """Return where to read a whole study from: as `reading_uri`, but SQLite's file also while its server runs.

    Through the server 2,048 runs take twice as long, and their files ten times as long.

    Raises:
        TrackingError: as `reading_uri`.
    """
    if given := os.environ.get(URI_VARIABLE):
        return checked(given)
    record = read_record(home)
    if record is not None and record.storage and record.alive():
        return record.uri  # the password of its PostgreSQL database is the server's affair
    return _without_server(home)


def _without_server(home: Home) -> str:
    record = read_record(home)
    given = os.environ.get(BACKEND_VARIABLE)
    elsewhere = record.storage if record else given and given != database_uri(home) and without_password(given)
    if elsewhere:
        raise TrackingError(
            f"the runs of {home.root} are in {elsewhere}, and its server does not run", "tracker server start"
        )
    return _existing_database(home)


def _existing_database(home: Home) -> str:
    if home.tracking_db.is_file():
        with open(home.tracking_db, "rb") as file:
            is_sqlite = file.read(16) == b"SQLite format 3\0"
        if is_sqlite:
            bring_up_to_date(home)
            return database_uri(home)
        # MLflow would try for minutes to open it
        raise TrackingError(f"{home.tracking_db} is not a SQLite database", "move it away, or choose another --home")
    raise TrackingError(f"nothing has been run here yet: no {home.tracking_db}", "tracker sweep --study quickstart")


def browsed_at(uri: str) -> str:
    """Return where people open MLflow's pages: TRACKER_UI_URL, else where programs reach it; without a password.

    The two differ where a server has a name of its own for the containers beside it, or a proxy before it.

    Raises:
        UsageError: TRACKER_UI_URL is no address of a page.
    """
    given = os.environ.get(UI_VARIABLE)
    if given and not given.startswith(("http://", "https://")):
        raise UsageError(f"{UI_VARIABLE}={shown(given)} is not an address", "accepted: http://HOST:PORT, or unset it")
    return shown(given or uri)


def store_name(home: Home, uri: str) -> str:
    """Name the store behind an address: "local" for this home's, whatever port it has today; else the address.

    That is without a password, since it is written to journals.
    """
    record = read_record(home)
    return "local" if uri == database_uri(home) or (record is not None and uri == record.uri) else shown(uri)


def checked(uri: str) -> str:
    if "://" not in uri and uri != "databricks":
        raise TrackingError(f"{URI_VARIABLE}={shown(uri)} is not an address", "accepted: http://HOST:PORT, or unset it")
    from tracker.tracking.client import check_reachable  # a second of imports that `server status` does not need

    try:
        check_reachable(uri)
    except TrackingError as error:
        raise TrackingError(f"{URI_VARIABLE} is set, and {error.message}", error.cure) from error
    return uri
