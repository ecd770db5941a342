"""The 64 published results, as a study with its runs."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from importlib import resources

from tracker.compare.comparison import Rules
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.records import RunRecord

NAME = "published"
SWEPT_AS = "norm-test"
"""The study of `experiments/` that has the same cells."""
SOURCE = "TooTouch/Normalization-Test on GitHub"
FILE = "published-64.csv"
SEED = 223
TEST_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "svhn": 26_032, "tiny-imagenet-200": 10_000}
QUESTION = (
    "When a pre-trained network is fine-tuned, in which cases does it make a difference whether images are "
    "normalized with the statistics of the dataset at hand or with those of the pre-training?"
)


@dataclass(frozen=True)
class PublishedResult:
    """One line of the file.

    Args:
        best_acc: a fraction, the best over the epochs, on the test split.
        best_epoch: counted from 0.
    """

    model: str
    dataset: str
    normalization: str
    best_acc: float
    best_epoch: int


def published_results() -> tuple[PublishedResult, ...]:
    """Read the published results, in the order of the file."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        PublishedResult(
            model=line["model"],
            dataset=line["dataset"],
            normalization=line["normalization"],
            best_acc=float(line["best_acc"]),
            best_epoch=int(line["best_epoch"]),
        )
        for line in csv.DictReader(lines)
    )


def published_study() -> Study:
    """Return the reference study's grid, in the order of its tables; its recipe is the defaults'."""
    results = published_results()
    axes = {
        "model": list(dict.fromkeys(result.model for result in results)),
        "dataset": list(dict.fromkeys(result.dataset for result in results)),
        "normalization": list(dict.fromkeys(result.normalization for result in results)),
        "seed": [SEED],
    }
    document = {
        "name": NAME,
        "question": QUESTION,
        "baseline": "pretrain",
        "recipe": {"statistics": "published"},
        "axes": axes,
    }
    return parse_study(document, file=FILE)


def published_runs(study: Study) -> list[RunRecord]:
    """Return the published results as finished runs of the study's cells."""
    results = {(result.model, result.dataset, result.normalization): result for result in published_results()}
    runs = []
    for cell in study.cells:
        result = results[cell.recipe.model, cell.recipe.dataset, cell.recipe.normalization]
        runs.append(
            RunRecord(
                run_id=f"{NAME}-{cell.id}",
                name=cell.name,
                cell_id=cell.id,
                status="FINISHED",
                params={},
                metrics={"best_acc": result.best_acc, "best_epoch": float(result.best_epoch)},
                tags={"tracker.test_images": str(TEST_IMAGES[result.dataset])},
                start_time=0,
                end_time=0,
            )
        )
    return runs


def published_board(baseline: str | None = None, rules: Rules | None = None) -> Leaderboard:
    """Compare the published results as any study's: by best_acc, which is all that was published.

    Args:
        baseline: what differences are taken against; pretrain if None.
        rules: how verdicts are made; the defaults if None.

    Raises:
        UsageError: the baseline is not one of the four settings.
    """
    study = published_study()
    board = build_leaderboard(study, published_runs(study), "best_acc", baseline, rules=rules)
    return replace(board, swept_as=SWEPT_AS)
