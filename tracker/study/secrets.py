"""Secrets from files: NAME_FILE names a file whose content is what the variable NAME would hold."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from urllib.parse import unquote, urlsplit

from tracker.study.errors import UsageError

SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "TRACKER_STORAGE",
)
"""The variables that may hold a secret, and so may come from a file."""

SUFFIX = "_FILE"

LARGEST = 64 * 1024
"""Bytes; a file that is longer is not a secret, and not worth reading."""


def read_secret_files(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put the content of every file that a NAME_FILE names into NAME, and take NAME_FILE out.

    Child processes inherit the outcome, so none of them meets both.

    Raises:
        UsageError: both are set, or the file is missing, unreadable, empty, or more than a line of text.
    """
    for name in SECRETS:
        variable = name + SUFFIX
        path = environment.get(variable)
        if not path:
            continue
        if environment.get(name):
            raise UsageError(f"{name} and {variable} are both set", "unset one of them")
        environment[name] = _content(variable, path)
        del environment[variable]


def part_credentials(environment: MutableMapping[str, str] = os.environ) -> None:
    """Move user and password out of MLFLOW_TRACKING_URI to where MLflow looks for them as well.

    An address is shown in messages, and MLflow and requests put it into every error.
    """
    uri = environment.get("MLFLOW_TRACKING_URI", "")
    try:
        parts = urlsplit(uri)
    except ValueError:
        return
    if parts.scheme in ("http", "https") and parts.username and parts.password:
        environment.setdefault("MLFLOW_TRACKING_USERNAME", unquote(parts.username))
        environment.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(parts.password))
        environment["MLFLOW_TRACKING_URI"] = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _content(variable: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST)
    except OSError as error:
        raise UsageError(
            f"{variable}={path}: {error.strerror}", "accepted: a file that holds the secret, on one line"
        ) from error
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text or "\n" in text or "\0" in text or len(content) == LARGEST:
        raise UsageError(f"{variable}={path}: not one line of text", "accepted: a file that holds the secret alone")
    return text
