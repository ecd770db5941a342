"""A program that is on Python's path, and not installed."""

from __future__ import annotations

from importlib import metadata

import pytest


def hide_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be known of norm-tracker's distribution; of all others what there is."""
    known = metadata.Distribution.from_name

    def from_name(name: str) -> metadata.Distribution:
        if name == "norm-tracker":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", from_name)
