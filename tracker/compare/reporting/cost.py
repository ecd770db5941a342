"""What accuracy costs: the time a cell was trained for."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.compare.scores import Leaderboard, Row

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord


@dataclass(frozen=True)
class Cost:
    """The training time of one row's setting.

    A cell's time is the sum of its epochs', each counted once and as long as it ran: what passed
    while the cell was interrupted, waited for its turn or loaded its data is not in it.

    Args:
        seconds: mean over seeds.
        n: how many seeds say it.
        devices: what they were trained on, as the runs say; times of several cannot be compared.
    """

    row: Row
    setting: str
    seconds: float
    n: int
    devices: tuple[str, ...]


def costs_of(
    board: Leaderboard, runs: Sequence[RunRecord], epoch_seconds: Mapping[str, Sequence[tuple[int, float]]]
) -> list[Cost]:
    """Sum up the time of every measured cell.

    Args:
        epoch_seconds: (epoch, seconds) by run id.
    """
    devices = {run.run_id: run.tags.get("device", "") for run in runs}
    found = []
    for row in board.rows:
        for setting, score in row.scores.items():
            ids = [outcome.run_id for outcome in score.outcomes if outcome.state == "measured" and outcome.run_id]
            times = [sum(seconds for _, seconds in epoch_seconds[each]) for each in ids if epoch_seconds.get(each)]
            if times:
                names = Counter(devices[each] for each in ids if devices.get(each))
                found.append(Cost(row, setting, statistics.mean(times), len(times), tuple(sorted(names))))
    return found


def duration(seconds: float) -> str:
    """Print a time as people say it: `8.4 s`, `12 min`, `3.5 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:.1f} h"
