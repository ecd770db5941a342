"""Times on the command line: 90s, 10m, 1h30m, 30d, 2w."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")


class Duration(click.ParamType["float"]):
    """Seconds.

    Args:
        least, most: as they are told, such as 1h; None for no limit.
    """

    name = "duration"

    def __init__(self, least: str = "1s", most: str | None = None) -> None:
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; click has them already where a default was given as such."""
        if isinstance(value, float):
            return value
        seconds = duration(str(value))
        if wrong := self._wrong(seconds):
            self.fail(f"{value!r} is {wrong}; give it as in 90s, 10m, 2h, 1h30m, 30d or 2w", param, ctx)
        assert seconds is not None
        return seconds

    def _wrong(self, seconds: float | None) -> str | None:
        if seconds is None:
            return "not a time"
        if seconds < (duration(self.least) or 0):
            return f"less than {self.least}"
        if self.most and seconds > (duration(self.most) or 0):
            return f"more than {self.most}"
        return None


def duration(text: str) -> float | None:
    """Return how many seconds a text tells; None where it is no time."""
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)
