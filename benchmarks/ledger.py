"""How fast the ledger hands out cells, by how many workers ask: `python -m benchmarks.ledger --help`.

Workers do nothing but renew a lease, then claim cells and complete them, as fast as they can. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.postgresql import lacking, server_version, temporary_server
from benchmarks.simulated import NAME, RENEWING_SHARE, Cycle, Report, begin_together, drive
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study

MAX_PROCESSES = 20
"""1,000 workers as 1,000 processes would need 100 GB; threads of 20 wait for the database just the same."""

PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Measured:
    """What one number of workers gave.

    Args:
        ready_seconds: until all workers had opened the database and claimed a first cell.
        cycle_seconds: of each cycle that began in the measured time, sorted.
        duplicates: cells that were handed out more than once.
        lost: cells that were handed out and are not complete.
    """

    database: str
    workers: int
    ready_seconds: float
    renewals_a_second: float
    cycles_a_second: float
    cycle_seconds: list[float]
    refusals: int
    duplicates: int
    lost: int

    def line(self) -> str:
        """Return the line of the table."""
        times = " | ".join(f"{1000 * quantile(self.cycle_seconds, share):,.0f}" for share in (0.5, 0.99, 1.0))
        return (
            f"| {self.database} | {self.workers:,} | {self.cycles_a_second:,.0f} | {times} | "
            f"{self.renewals_a_second:,.0f} | {len(self.cycle_seconds):,} | {self.refusals} | {self.duplicates} | "
            f"{self.lost} | {self.ready_seconds:.0f} |"
        )


HEAD = (
    "| database | workers | claims/s | p50, ms | p99, ms | worst, ms | renewals/s | cells | refused | duplicates "
    "| lost | ready, s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies; NaN where there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def grid(cells: int) -> Study:
    """Make a study of at least so many cells; of short axes, since Optuna keeps an axis whole with each trial."""
    lines = math.ceil(cells / 400)
    sizes = range(1, min(lines, 25) + 1)
    axes = {
        "model": ["resnet18", "resnet50", "densenet121", "densenet161"],
        "normalization": ["pretrain", "finetune", "instance", "minmax"],
        "seed": list(range(25)),
        "batch_size": list(sizes),
        "epochs": list(range(1, math.ceil(lines / len(sizes)) + 1)),
    }
    recipe = {"dataset": "digits", "source": "random"}
    return parse_study({"name": NAME, "question": "How fast?", "recipe": recipe, "axes": axes}, file="the benchmark")


def measure(database: str, url: str, workers: int, seconds: float, known: set[str]) -> Measured:
    """Let so many workers run for a while, and see what became of every cell they had.

    Args:
        known: ids of the cells that earlier measurements used up; this one's are added.
    """
    names = [f"{workers}-{number}" for number in range(workers)]
    count = min(workers, MAX_PROCESSES)
    begun = time.monotonic()
    ears, processes = [], []
    for number in range(count):
        ear, mouth = PROCESSES.Pipe()
        process = PROCESSES.Process(target=drive, args=(url, names[number::count], seconds, mouth), daemon=True)
        process.start()
        mouth.close()
        ears.append(ear)
        processes.append(process)
    renewing = begin_together(ears)
    cycling = begin_together(ears)
    reports: list[Report] = [report for ear in ears for report in ear.recv()]
    for process in processes:
        process.join()
    renewed = [moment for report in reports for moment in report.renewals]
    cycles = [cycle for report in reports for cycle in report.cycles]
    window = [cycle for cycle in cycles if cycling <= cycle.began]
    until = min(cycling + seconds, max((cycle.ended for cycle in window), default=math.inf))  # the cells may run out
    duplicates, lost = found_wrong(url, cycles, known)
    known.update(cycle.cell_id for cycle in cycles)
    return Measured(
        database=database,
        workers=workers,
        ready_seconds=renewing - begun,
        renewals_a_second=rate(renewed, renewing, renewing + seconds / RENEWING_SHARE),
        cycles_a_second=rate([cycle.ended for cycle in cycles], cycling, until),
        cycle_seconds=sorted(cycle.ended - cycle.began for cycle in window),
        refusals=sum(report.refusals for report in reports),
        duplicates=duplicates,
        lost=lost,
    )


def rate(moments: Sequence[float], begin: float, end: float) -> float:
    """Return how many of the moments lie between two, a second."""
    return sum(begin < moment <= end for moment in moments) / (end - begin)


def found_wrong(url: str, cycles: Sequence[Cycle], known: set[str]) -> tuple[int, int]:
    """Count the cells that were handed out twice, and those that were handed out and are not complete."""
    handed_out = Counter(cycle.cell_id for cycle in cycles)
    with Ledger(url) as ledger:
        rows = {row.cell_id: row for row in ledger.rows(NAME)}
    again = {cell_id for cell_id in handed_out if handed_out[cell_id] > 1 or cell_id in known}
    again |= {row.cell_id for row in rows.values() if row.attempts > 1}
    begun = {row.cell_id for row in rows.values() if row.attempts > 0} | handed_out.keys()
    return len(again), sum(rows[cell_id].state != "COMPLETE" for cell_id in begun)


@contextmanager
def empty_database(kind: str, workers: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the URL of a database with nothing in it, for so many workers."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
            yield f"SQLite {sqlite3.sqlite_version}", local_url(Home(Path(folder)))
    else:
        with temporary_server(max_connections=workers + 20) as url:
            yield f"PostgreSQL {server_version()}", url.format(database="postgres")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--workers", default="1,10,100,1000", help="simulated workers, one measurement each")
    parser.add_argument("--cells", type=int, default=100_000, help="size of the grid, all measurements together")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time, or until no cell is left")
    options = parser.parse_args()
    workers = [int(number) for number in options.workers.split(",")]
    kinds = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    if "postgresql" in kinds and (reason := lacking()):
        parser.error(reason)
    PROCESSES.set_forkserver_preload(["tracker.ledger.trials", "tracker.ledger.ledger", "tracker.study.load"])
    study = grid(options.cells)
    lines, notes = [], []
    for kind in kinds:
        with empty_database(kind, max(workers)) as (name, url):
            tell(f"{name}: enrolling {len(study.cells):,} cells")
            started, known = time.monotonic(), set[str]()
            with Ledger(url) as ledger:
                ledger.enroll(study)
            notes.append(f"{name}: {len(study.cells):,} cells enrolled in {time.monotonic() - started:.0f} s")
            for number in workers:
                tell(f"{name}: {number:,} workers")
                lines.append(measure(name, url, number, options.seconds, known).line())
                tell(lines[-1])
            with Ledger(url) as ledger:
                problems = ledger.mend(NAME, dry_run=True)
            notes[-1] += f"; of {len(known):,} trials that were run, {len(problems)} disagree with the table."
    print("\n".join([HEAD, *lines, "", machine(), *notes]))


def machine() -> str:
    """Say what it was measured on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("sqlalchemy", "optuna", "psycopg"))
    cores = f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[2]:.1f}"
    return f"{cores}; Python {platform.python_version()}, {packages}."


def tell(text: str) -> None:
    """Say what is under way, beside the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
