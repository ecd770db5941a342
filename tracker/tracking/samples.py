"""What was measured of the machine, as MLflow's system metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from tracker.tracking.events import Event, Metrics

SYSTEM = "system/"
"""What the names of MLflow's system metrics begin with; it shows them on a page of their own, over time."""

Sample = tuple[int, Mapping[str, float]]
"""A look at the machine: milliseconds since 1970, and numbers under MLflow's names without `SYSTEM`."""


def sample_events(samples: Iterable[Sample], began: int) -> Iterator[Metrics]:
    """Yield an event for each sample; its step is the second since the run began, which grows over all attempts.

    Args:
        began: milliseconds since 1970.
    """
    for moment, values in samples:
        named = {f"{SYSTEM}{name}": float(value) for name, value in values.items()}
        yield Metrics(moment, max(0, moment - began) // 1000, named)


def of_an_epoch(event: Event) -> TypeGuard[Metrics]:
    """Say whether an event holds metrics whose step is an epoch."""
    return isinstance(event, Metrics) and not all(name.startswith(SYSTEM) for name in event.values)
