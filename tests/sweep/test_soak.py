"""Thousands of cells through one worker: what it keeps between cells does not grow."""

from __future__ import annotations

import gc
import pathlib
import threading
import tracemalloc

import numpy as np
import psutil
import pytest

from tests.sweep.trials import SETTINGS, Bench, small_study
from tests.sweep.trivial import trivial_cell
from tracker.ledger.ledger import Ledger
from tracker.sweep.events import CellDone, Event
from tracker.sweep.reconcile import reconcile
from tracker.sweep.workers.worker import Worker

CELLS = 2_000
SAMPLE_CELLS = 20

MAX_GROWTH_BYTES = 512 << 10
"""Of Python's own memory, over 1,500 cells: a leak of 350 bytes a cell is found. Measured: 0.26 MB."""

NO_INTERNED = tracemalloc.Filter(False, pathlib.__file__)
"""pathlib interns the parts of paths. Python's table of interned strings is one block of 15 MB here, which counts as
grown in full whenever it is laid out anew, and that is once in thousands of cells."""

MAX_GROWTH_RESIDENT_BYTES = 24 << 20
"""The same of all memory. A leak of one tensor or file of 25 KB a cell is found; SQLite's caches, which grow with its
file up to 2 MB a connection, and what the allocator keeps, are less."""

MAX_GROWTH_HANDLES = 0.5
"""A leak of one handle in 1,000 cells is more."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_threads_and_open_files_stay_flat_over_thousands_of_cells(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last quarter of the cells finds the process as the second did; the first may fill caches."""
    study = small_study("soak", epochs=1, seeds=tuple(range(CELLS)))
    process = psutil.Process()
    samples: list[tuple[int, int, int]] = []
    snapshots: list[tracemalloc.Snapshot] = []
    done = 0

    def watch(event: Event) -> None:
        nonlocal done
        done += isinstance(event, CellDone)
        if isinstance(event, CellDone) and done % SAMPLE_CELLS == 0:
            gc.collect()
            samples.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
            if done in (CELLS // 4, CELLS):
                snapshots.append(tracemalloc.take_snapshot().filter_traces([NO_INTERNED]))

    with Ledger.local(bench.home) as ledger:
        ledger.enroll(study)
        config = bench.config(study, settings=SETTINGS)
        tracemalloc.start()
        assert Worker(config, ledger, watch, threading.Event(), train=trivial_cell).run() == CELLS
        tracemalloc.stop()
        assert ledger.counts(study.name).complete == CELLS
        reconcile(study.name, ledger, bench.home, bench.uri)  # on a busy machine a journal may be left
    assert bench.scratch() == []

    assert len(samples) == CELLS // SAMPLE_CELLS
    _, second, _, last = (quarter.mean(axis=0) for quarter in np.split(np.array(samples, dtype=float), 4))
    resident, handles, threads = last - second
    grown = snapshots[1].compare_to(snapshots[0], "lineno")
    python = sum(place.size_diff for place in grown)
    with capsys.disabled():
        print(
            f"\nsoak: {CELLS} cells, Python's memory {python / 1e6:+.3f} MB after the 1st quarter; "
            f"2nd quarter to last: all memory {second[0] / 1e6:.1f} to {last[0] / 1e6:.1f} MB, "
            f"open files {second[1]:.1f} to {last[1]:.1f}, threads {second[2]:.1f} to {last[2]:.1f}"
        )
    assert python < MAX_GROWTH_BYTES, "\n".join(map(str, grown[:8]))
    assert resident < MAX_GROWTH_RESIDENT_BYTES
    assert handles < MAX_GROWTH_HANDLES
    assert threads < MAX_GROWTH_HANDLES
