"""What a home's server prints."""

from __future__ import annotations

from pathlib import Path

from tracker.study.home import Home


def log_path(home: Home) -> Path:
    """What `home`'s server prints."""
    return home.server / "server.log"


def log_size(home: Home) -> int:
    """Return how long the server's log is, in bytes."""
    return log_path(home).stat().st_size if log_path(home).exists() else 0


def log_tail(home: Home, start: int = 0, lines: int = 15) -> str:
    """Return the last lines of the server's log, from byte `start`."""
    try:
        with open(log_path(home), "rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"
