"""What is read back of studies and runs, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StudyRecord:
    """A study as it was last swept.

    Args:
        run_id: of the study's own run.
        document: what `parse_study` makes the study of.
        state: of that run: RUNNING, FINISHED, FAILED or KILLED.
        swept_at: milliseconds since 1970.
    """

    name: str
    experiment_id: str
    run_id: str
    document: dict[str, Any]
    state: str
    swept_at: int


@dataclass(frozen=True)
class RunRecord:
    """A cell's run.

    Args:
        status: RUNNING, FINISHED, FAILED or KILLED.
        metrics: the latest value of each.
        start_time: milliseconds since 1970.
        end_time: None while it runs; one that goes on shows where it was last ended.
        key: the same for all attempts that continued it; "" in runs that others made.
        artifact_uri: where its files are, in MLflow's words.
    """

    run_id: str
    name: str
    cell_id: str
    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    start_time: int
    end_time: int | None
    key: str = ""
    artifact_uri: str = ""
