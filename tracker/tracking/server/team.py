"""MLflow's basic auth for a team's server: what it must be given, and the file that configures it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing
from tracker.tracking.server.storage import Storage, split_password, use_wal

SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 (the variable's name)
ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105

SHORTEST = {SECRET_KEY: 16, ADMIN_PASSWORD: 12}
"""The least characters of each secret."""

ONCE_SHIPPED = "password1234"
"""The admin password of earlier MLflow releases, which all the world knows."""


def check_secrets(environment: Mapping[str, str] = os.environ) -> None:
    """See to it that a team's server gets secrets of its own; there are no defaults.

    Raises:
        TrackingError: one is missing, short or known to everybody, or MLflow's auth is not installed.
    """
    if find_spec("flask_wtf") is None:
        raise TrackingError(
            "--team needs MLflow's basic auth, which is not installed", "pip install 'norm-tracker[team]'"
        )
    for name, least in SHORTEST.items():
        value = environment.get(name, "")
        problem = (
            "is not set"
            if not value
            else f"is shorter than {least} characters"
            if len(value) < least
            else "is the password that MLflow once shipped"
            if value == ONCE_SHIPPED
            else None
        )
        if problem:
            raise TrackingError(
                f"--team: {name} {problem}",
                f"`openssl rand -hex 24 > FILE`, then set {name}_FILE=FILE (or {name} itself)",
            )


def auth_database(home: Home) -> Path:
    """Where a team's server keeps its users; one with PostgreSQL keeps them there, beside the runs."""
    return home.server / "auth.db"


def auth_environment(home: Home, storage: Storage) -> dict[str, str]:
    """Write MLflow's auth configuration, and return what else the server must be given to use it.

    The users' tables keep a version of their own (`alembic_version_auth`) and share no name with
    those of the runs, so PostgreSQL holds both in one database, and one backup. Its password goes by
    libpq's own variable, since the file has no place for a secret.

    Writes: server/auth.ini and, with SQLite, server/auth.db, for their owner only.
    """
    extra = {}
    if storage.own:
        path = auth_database(home)
        _private(path)
        use_wal(path)
        uri = f"sqlite:///{quote(str(path))}"
    else:
        uri, password = split_password(storage.uri)
        if password:
            extra["PGPASSWORD"] = password
    config = ConfigParser(interpolation=None)
    config["mlflow"] = {
        "default_permission": "READ",  # who makes an experiment may do all with it; the others look
        "database_uri": uri.replace("%", "%%"),  # MLflow's parser takes % for its own
        "admin_username": "admin",  # MLFLOW_AUTH_ADMIN_USERNAME comes before it
        "grant_default_workspace_access": "false",
        # Hashing a password takes longer than most requests. The one worker forgets a changed one at once.
        "auth_cache_ttl_seconds": "60",
    }
    file = home.server / "auth.ini"
    with replacing(file) as temporary:
        _private(temporary)
        with temporary.open("w", encoding="utf-8") as text:
            config.write(text)
    return extra | {"MLFLOW_AUTH_CONFIG_PATH": str(file)}


def _private(path: Path) -> None:
    """Make a file that only its owner reads, or make one that is there so."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)
