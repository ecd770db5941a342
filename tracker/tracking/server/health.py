"""Does a server answer? Asked without MLflow, whose import takes longer than the answer."""

from __future__ import annotations

import http.client
from contextlib import closing
from urllib.parse import urlsplit


def answers(uri: str, seconds: float = 5.0) -> bool:
    """Say whether MLflow answers at an http(s) address: its health check, and its version or its wish for a password.

    Args:
        seconds: to wait for each of the two.
    """
    parts = urlsplit(uri)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        if not parts.hostname:
            return False
        for page, good in (("/health", (200,)), ("/version", (200, 401))):
            connection = kind(parts.hostname, parts.port, timeout=seconds)
            with closing(connection):
                connection.request("GET", parts.path.rstrip("/") + page)
                if connection.getresponse().status not in good:
                    return False
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True
