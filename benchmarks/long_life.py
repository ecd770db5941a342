"""How a store of 2,000 runs of 100 epochs is to live with: `python -m benchmarks.long_life --help`.

Fills a home as years of sweeps would, MLflow's store and the trial database, and times what a user waits
for: commands as processes of their own, imports included; the calls behind MLflow's page of runs; that
page in a headless Chromium until its table shows runs. Prints a Markdown table.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.compare import arguments, fill, grid, serve, shown, timed
from tracker.ledger.ledger import Ledger
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.tracking.reading import read_runs, read_study
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import stop
from tracker.tracking.view import experiment_url

NAME = "large"
UI_PAGE = 100
"""Runs that MLflow's page asks for at once."""
LARGEST_PAGE = 1_000
CELLS_ONLY = "tags.`tracker.kind` = 'cell'"
SECONDS = 600
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

Work = Callable[[], object]


def enroll_complete(home: Home, study: Study) -> None:
    """Put the study into the trial database, every cell complete with the run that `fill` has made of it."""
    runs = {run.cell_id: run for run in read_runs(database_uri(home), NAME)}
    place = read_study(database_uri(home), NAME)
    with Ledger.local(home) as ledger:
        ledger.enroll(study)
        ledger.set_place(NAME, place.experiment_id, place.run_id)
        while (claim := ledger.leases.claim(NAME, "filler")) is not None:
            run = runs[claim.cell_id]
            metrics = {name: run.metrics[name] for name in ("best_acc", "last_acc")}
            ledger.leases.complete(claim, metrics, run.run_id, 600.0)


def commands(home: Home, scratch: Path) -> Iterator[tuple[str, Work, Work]]:
    """Yield what a user types: its name, what has to be done before each time, and the work."""

    def nothing() -> None:
        pass

    def forget() -> None:
        shutil.rmtree(home.cache, ignore_errors=True)

    def clear() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()

    yield "tracker status", nothing, lambda: tracker(home, "status")
    yield f"tracker status --study {NAME}", nothing, lambda: tracker(home, "status", "--study", NAME)
    compare = ("compare", "--study", NAME, "--format", "markdown")
    yield f"tracker compare --study {NAME}, nothing kept", forget, lambda: tracker(home, *compare)
    yield f"tracker compare --study {NAME}, predictions kept", nothing, lambda: tracker(home, *compare)
    yield (
        "tracker server start, until it answers",
        lambda: tracker(home, "server", "stop"),
        lambda: tracker(home, "server", "start"),
    )
    yield "tracker backup", clear, lambda: tracker(home, "backup", str(scratch / "backup"))
    pack = ("export-runs", "--study", NAME, "-o", str(scratch / "bundle"))
    yield "tracker export-runs", clear, lambda: tracker(home, *pack)


def tracker(home: Home, *arguments: str) -> None:
    """Run a command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        env=os.environ | {"TRACKER_HOME": str(home.root)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode != 0:
        raise SystemExit(f"tracker {' '.join(arguments)} failed:\n{done.stderr}")


def pages(uri: str, experiment_id: str, size: int, most: int) -> int:
    """Ask for the cells' runs as MLflow's page does, at most so many pages; return how many runs came."""
    found, token = 0, None
    for _ in range(most):
        asked: dict[str, Any] = {
            "experiment_ids": [experiment_id],
            "filter": CELLS_ONLY,
            "max_results": size,
            "order_by": ["metrics.`best_acc` DESC"],
        }
        request = urllib.request.Request(  # noqa: S310
            f"{uri}/ajax-api/2.0/mlflow/runs/search",
            data=json.dumps(asked | ({"page_token": token} if token else {})).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            page = json.load(answer)
        found += len(page.get("runs", ()))
        token = page.get("next_page_token")
        if not token:
            break
    return found


def calls(uri: str, experiment_id: str, runs: int) -> Iterator[tuple[str, Work, Work]]:
    """Yield the calls behind the page of runs."""

    def expect(size: int, most: int, wanted: int) -> None:
        found = pages(uri, experiment_id, size, most)
        if found != wanted:
            raise SystemExit(f"{found} runs came, not {wanted}")

    def nothing() -> None:
        pass

    yield f"REST: the first {UI_PAGE} runs", nothing, lambda: expect(UI_PAGE, 1, min(UI_PAGE, runs))
    yield f"REST: all runs, {LARGEST_PAGE} a page", nothing, lambda: expect(LARGEST_PAGE, runs, runs)
    yield f"REST: all runs, {UI_PAGE} a page", nothing, lambda: expect(UI_PAGE, runs, runs)


def in_browser(url: str, times: int) -> list[float]:
    """Open the page of runs in a fresh headless Chromium until its table names a cell; [] where there is none."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if find_spec("playwright") is None or program is None:
        print("the page in a browser: left out, no playwright or no Chromium", file=sys.stderr)
        return []
    from playwright.sync_api import sync_playwright

    measured = []
    with sync_playwright() as started:
        for _ in range(times):
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
            try:
                page = browser.new_page(viewport={"width": 1600, "height": 1000})
                begun = time.perf_counter()
                page.goto(url)
                page.get_by_text("/seed=").first.wait_for(timeout=SECONDS * 1000)
                measured.append(time.perf_counter() - begun)
            finally:
                browser.close()
    return measured


def repeated(before: Work, work: Work, times: int) -> list[float]:
    """Return the seconds that `work` takes, several times, each after `before`."""
    measured = []
    for _ in range(times):
        before()
        measured.append(timed(work))
    return measured


def measure(home: Home, scratch: Path, study: Study, times: int) -> Iterator[str]:
    """Yield the lines of the table, the commands without a server first."""
    for name, before, work in commands(home, scratch):
        yield shown(name, repeated(before, work, times))
    uri = serve(home)
    record = read_study(uri, NAME)
    for name, before, work in calls(uri, record.experiment_id, len(study.cells)):
        yield shown(name, repeated(before, work, times))
    if seconds := in_browser(experiment_url(uri, record.experiment_id), times):
        yield shown("the page of runs in Chromium, until the table shows them", seconds)


def main() -> None:
    """Fill a home, use it, and print the table."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as beside:
        home = Home((options.home or Path(beside, "mlruns")).absolute())
        study = grid(options.runs)
        if not home.tracking_db.exists():
            print(f"filling a home with {len(study.cells)} runs of {options.epochs} epochs", file=sys.stderr)
            print(f"{timed(lambda: fill(home, study, options.epochs)):.0f} s", file=sys.stderr)
        if not home.trials_db.exists():
            print(f"{timed(lambda: enroll_complete(home, study)):.0f} s for the trial database", file=sys.stderr)
        packages = ", ".join(f"{package} {version(package)}" for package in ("mlflow", "optuna", "sqlalchemy"))
        print(
            f"{len(study.cells)} runs of {options.epochs} epochs, {home.tracking_db.stat().st_size / 1e6:.0f} MB; ",
            end="",
        )
        print(f"Python {platform.python_version()}, {packages}, SQLite {sqlite3.sqlite_version}\n")
        print("| what | median, s | least | most |\n|---|--:|--:|--:|", flush=True)
        try:
            for line in measure(home, Path(beside, "scratch"), study, options.times):
                print(line, flush=True)
        finally:
            stop(home)


if __name__ == "__main__":
    main()
