"""Measurements as they might be, for what is made of them."""

from __future__ import annotations

from dataclasses import replace

from tracker.bench.measure import Measured, Timing


def timing(seconds: float, images: int) -> Timing:
    """Return a timing of three rounds."""
    return Timing(images, (seconds, 3 * seconds, seconds / 2))


def pieces(model: str, dataset: str) -> list[Measured]:
    """1 s for 100 training images and 0.5 s for 20 test images, the reference's way twice that; 9 s to start."""
    epoch, judged = timing(1.5, 100), timing(0.5, 20)
    twice_epoch, twice_judged = replace(epoch, seconds=(3.0,) * 3), replace(judged, seconds=(1.0,) * 3)
    return [
        Measured(model, dataset, "evaluation", "plain", twice_judged, judged),
        Measured(model, dataset, "epoch", "plain", twice_epoch, epoch),
        Measured(model, dataset, "start", "plain", None, timing(9.0, 0)),
    ]
