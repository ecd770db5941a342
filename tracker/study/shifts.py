"""The grammar of a recipe's `shift`: what a sensor did to raw pixel values, in words.

A shift is one step or several joined by `+`, done from left to right: `gain=0.5+offset=0.25`. A
number may differ by channel: `gain=1:0.8:0.6`. `tracker.vision.raw_shift` carries them out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

AS_IS = "as-is"
"""The shift that is none."""

Kind = Literal["gain", "offset", "invert", "frame"]

STEPS: dict[str, str] = {
    "gain=G": "multiply every value by G: another exposure",
    "offset=O": "add O, in units of the full range: another black level",
    "invert": "swap black and white",
    "frame=N": "paint the outermost N pixels black: values mean what they meant, statistics change",
}
LIMITS: dict[str, tuple[float, float]] = {"gain": (0.01, 100), "offset": (-1, 1), "frame": (1, 512)}


@dataclass(frozen=True)
class ShiftStep:
    """One step of a shift.

    Args:
        values: one number for all channels or one for each; none for `invert`; whole pixels for `frame`.
    """

    kind: Kind
    values: tuple[float, ...] = ()


def parse_shift(text: str) -> tuple[ShiftStep, ...]:
    """Read a shift; no steps for `as-is`.

    Raises:
        ValueError: it is not one; the message says what is accepted.
    """
    if text == AS_IS:
        return ()
    steps = tuple(_step(part) for part in text.split("+"))
    if sum(step.kind == "frame" for step in steps) > 1:
        raise ValueError(f"{text!r} has two frames: the wider one is enough")
    return steps


def _step(text: str) -> ShiftStep:
    kind, equals, number = text.partition("=")
    if text == "invert":
        return ShiftStep("invert")
    if kind not in LIMITS or not equals:
        raise ValueError(f"{text!r} is not a shift")
    low, high = LIMITS[kind]
    try:
        values = tuple(float(part) for part in number.split(":"))
    except ValueError:
        raise ValueError(f"{text!r} has no number that can be read") from None
    if not all(math.isfinite(value) and low <= value <= high for value in values):
        raise ValueError(f"{text!r}: {kind} takes {low:g} to {high:g}")
    if kind == "frame":
        if len(values) > 1 or not values[0].is_integer():
            raise ValueError(f"{text!r}: frame takes one whole number of pixels")
        return ShiftStep("frame", values)
    if len(values) not in (1, 3):
        raise ValueError(f"{text!r}: one number, or three joined by `:`, one a channel")
    return ShiftStep("gain" if kind == "gain" else "offset", values)
