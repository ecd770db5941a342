"""Many small events in few calls: consecutive metrics and tags go to MLflow together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow.entities import Metric, RunTag

from tracker.tracking.events import Event, Metrics, Tags, to_line

MAX_METRICS = 1_000
"""MLflow takes so many metrics, or metrics and tags together, in one call."""
MAX_TAGS = 100
MAX_BYTES = 400_000
"""Of journal lines in a call; MLflow takes 1,000,000 of its own, in which a metric is about twice as long."""


def leading(events: Iterable[Event]) -> list[Metrics | Tags]:
    """Return the metrics and tags that `events` begin with, as many as fit into one call."""
    taken: list[Metrics | Tags] = []
    metrics, size = 0, 0
    names: set[str] = set()
    for event in events:
        if isinstance(event, Metrics):
            metrics += len(event.values)
        elif isinstance(event, Tags):
            names |= event.tags.keys()
        else:
            break
        size += len(to_line(event))
        if metrics + len(names) > MAX_METRICS or len(names) > MAX_TAGS or size > MAX_BYTES:
            break
        taken.append(event)
    return taken


def metrics_of(events: Sequence[Event]) -> list[Metric]:
    """Return the metrics in order; MLflow takes one that it has already, or that comes twice, once."""
    return [
        Metric(name, value, event.time, event.step)
        for event in events
        if isinstance(event, Metrics)
        for name, value in event.values.items()
    ]


def tags_of(events: Sequence[Event]) -> list[RunTag]:
    """Return the tags, each once, with its last value: the limit counts repeated ones."""
    merged = {name: value for event in events if isinstance(event, Tags) for name, value in event.tags.items()}
    return [RunTag(name, value) for name, value in merged.items()]
