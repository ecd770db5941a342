"""Studies and runs that the tests of the compare wing share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.compare.small_report import empty_content, full_content
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.published import results
from tracker.compare.published.claims import Claim, check
from tracker.compare.published.findings import Findings, find
from tracker.compare.reporting import blocks
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.figures import drawings_of
from tracker.compare.reporting.page import page_of
from tracker.compare.reporting.write import write_report
from tracker.compare.scores import Leaderboard
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.tracking.records import RunRecord

MakeRun = Callable[..., RunRecord]

REFERENCE = {
    "name": "norm-test",
    "question": "Does it matter how images are normalized for fine-tuning?",
    "recipe": {"statistics": "published"},
    "axes": {
        "model": ["resnet18", "resnet50", "densenet121", "densenet161"],
        "dataset": ["cifar10", "cifar100", "svhn", "tiny-imagenet-200"],
        "normalization": ["finetune", "pretrain", "instance", "minmax"],
        "seed": [223],
    },
}

IMAGES = {"svhn": 26_032}
"""Test images of the datasets that have not 10,000."""

SMALL = {
    "name": "small",
    "question": "Which normalization suits digits?",
    "recipe": {"model": "resnet18", "dataset": "digits", "epochs": 2},
    "axes": {
        "tune": ["full", "head"],
        "normalization": ["pretrain", "finetune", "minmax"],
        "seed": [1, 2, 3],
    },
}


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Make a run of a cell: `make_run(cell, 0.9)`, or with metrics, a status, a start in milliseconds."""

    def make(
        cell: Cell,
        metrics: float | Mapping[str, float] | None = None,
        status: str = "FINISHED",
        start: int = 0,
        **changes: Any,
    ) -> RunRecord:
        measured = {"best_acc": metrics} if isinstance(metrics, float) else dict(metrics or {})
        fields: dict[str, Any] = {
            "run_id": f"run-{cell.id}-{start}",
            "name": cell.name,
            "cell_id": cell.id,
            "status": status,
            "params": {},
            "metrics": measured,
            "tags": {"tracker.test_images": str(IMAGES.get(cell.recipe.dataset, 10_000))},
            "start_time": start,
            "end_time": None if status == "RUNNING" else start + 1,
        }
        return RunRecord(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def reference() -> Study:
    """The reference study's grid: 64 cells."""
    return parse_study(REFERENCE, file="norm-test.yaml")


@pytest.fixture(scope="session")
def small() -> Study:
    """Two rows, three settings, three seeds: 18 cells."""
    return parse_study(SMALL, file="small.yaml")


@pytest.fixture(scope="session")
def published() -> pd.DataFrame:
    """The 64 published results."""
    table = pd.DataFrame(results.published_results())
    assert len(table) == 64
    return table


@pytest.fixture(scope="session")
def published_board(reference: Study, published: pd.DataFrame, make_run: MakeRun) -> Leaderboard:
    """The published results as a leaderboard."""
    accuracies = published.set_index(["model", "dataset", "normalization"])["best_acc"]
    runs = [
        make_run(cell, float(accuracies[cell.recipe.model, cell.recipe.dataset, cell.recipe.normalization]))
        for cell in reference.cells
    ]
    return build_leaderboard(reference, runs)


@pytest.fixture(scope="session")
def gaps_board(small: Study, make_run: MakeRun) -> Leaderboard:
    """A leaderboard with every state a cell can be in, a tie, a duplicate and a stranger."""
    values = {"pretrain": (0.95, 0.94, 0.93), "finetune": (0.96, 0.93, 0.93), "minmax": (0.9, 0.91, 0.92)}
    runs = {
        (cell.recipe.tune, cell.recipe.normalization, cell.recipe.seed): make_run(
            cell, values[cell.recipe.normalization][cell.recipe.seed - 1]
        )
        for cell in small.cells
    }
    cells = {(cell.recipe.tune, cell.recipe.normalization, cell.recipe.seed): cell for cell in small.cells}
    del runs["head", "pretrain", 3]
    runs["head", "finetune", 1] = make_run(cells["head", "finetune", 1], status="FAILED")
    runs["head", "minmax", 1] = make_run(cells["head", "minmax", 1], status="RUNNING")
    runs["head", "minmax", 2] = make_run(cells["head", "minmax", 2], status="KILLED")
    runs["head", "minmax", 3] = make_run(cells["head", "minmax", 3], {"last_acc": 0.9})
    older = make_run(cells["full", "minmax", 1], 0.5, start=-10)
    stranger = make_run(cells["full", "minmax", 2], 0.99, run_id="run-stranger", cell_id="0" * 12)
    return build_leaderboard(small, [*runs.values(), older, stranger])


@pytest.fixture(scope="session")
def content(small: Study, make_run: MakeRun) -> Content:
    """A report's content with a bit of everything."""
    return full_content(small, make_run)


@pytest.fixture(scope="session")
def empty(small: Study, content: Content) -> Content:
    """The content of a study of which nothing has run."""
    return empty_content(small, content)


@pytest.fixture(scope="session")
def page(content: Content) -> blocks.Page:
    """The report as a page, before it has a format."""
    return page_of(content, {name: drawing.picture for name, drawing in drawings_of(content).items()})


@pytest.fixture(scope="session")
def written(content: Content, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """The whole report in a new folder, and what it said it wrote."""
    folder = tmp_path_factory.mktemp("report") / "new" / "out"
    return folder, write_report(content, folder)


@pytest.fixture(scope="session")
def findings() -> Findings:
    """What is computed from the published results."""
    return find(results.published_board())


@pytest.fixture(scope="session")
def claims(findings: Findings) -> tuple[Claim, ...]:
    """The claims, checked."""
    return check(findings)
