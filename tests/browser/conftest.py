"""One small study with real cells, its MLflow server, and a browser, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, running_browser
from tests.sweep.conftest import STUDY, run_tracker
from tracker.study.home import Home
from tracker.tracking.reading import read_runs
from tracker.tracking.records import RunRecord
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import start, stop


@dataclass(frozen=True)
class Swept:
    """A study that was swept while its server ran, and what the command said.

    Args:
        link: the address that the command printed.
    """

    home: Path
    link: str
    runs: list[RunRecord]

    @property
    def uri(self) -> str:
        """The server's address."""
        return self.link.partition("/#")[0]

    @property
    def experiment(self) -> str:
        """The path of the study's page."""
        return self.link.partition("/runs?")[0]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser; the test is skipped where there is none."""
    with running_browser() as found:
        yield found


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Swept]:
    """The small study of the sweep's tests, two normalizations by two seeds, with leaderboard and report."""
    folder = tmp_path_factory.mktemp("browsed")
    study = folder / "small.yaml"
    two_by_two = {"seed: [1]": "seed: [1, 2]", "finetune, instance, minmax": "minmax"}
    text = STUDY
    for old, new in two_by_two.items():
        assert old in text
        text = text.replace(old, new)
    study.write_text(text)
    home = Home(folder / "mlruns")
    start(home)
    try:
        said = run_tracker(home.root, "sweep", "--study", str(study), "--workers", "1").stderr
        run_tracker(home.root, "report", "--study", "small", "-o", str(folder / "report"))
        (link,) = [line.split()[-1] for line in said.splitlines() if line.startswith("browse the runs:")]
        yield Swept(home.root, link, read_runs(database_uri(home), "small"))
    finally:
        stop(home)
