"""The content of a small study's report, for the tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tracker.compare.grading import Graded
from tracker.compare.history import History
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.reporting.channels import Channels, DatasetFacts
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.cost import costs_of
from tracker.compare.reporting.models import ModelFacts
from tracker.compare.reporting.protocol import protocol_of
from tracker.compare.shift import shift_report
from tracker.study.study import Study
from tracker.tracking.records import RunRecord
from tracker.vision.images import Statistics

IMAGES = 400
SEED = 7
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><path style="fill: #ffffff"/><text>t</text></svg>'


def full_content(small: Study, make_run: Callable[..., RunRecord]) -> Content:
    """Return a report's content with a bit of everything: two cells are not there, one run is of another commit."""
    generator = np.random.default_rng(SEED)
    accuracy = {"pretrain": 0.80, "finetune": 0.81, "minmax": 0.65}
    index = np.arange(IMAGES, dtype=np.int32)
    runs, grades = [], {}
    for number, cell in enumerate(small.cells[:-1]):
        chances = np.where(index < 200, 0.15, -0.15) + accuracy[cell.recipe.normalization]
        correct = generator.random(IMAGES) < np.clip(chances, 0, 1)
        best = float(correct.mean())
        tags = {
            "tracker.test_images": str(IMAGES), "tracker.train_images": "1000", "dataset.fingerprint": "f" * 16,
            "source.fingerprint": "resnet18 IMAGENET1K_V1 f37072fd", "device": "CPU, 2 threads",
            "git.commit": "0123456789abcdef" if number else "fedcba9876543210",
            "git.dirty": "false" if number else "true",
            "version.torch": "2.15.0", "tracker.shift_reference": "imagenet",
        }  # fmt: skip
        shift = {"pretrain": 0.1, "finetune": 0.0, "minmax": 0.7}[cell.recipe.normalization]
        metrics = {"best_acc": best, "last_acc": best - 0.0025 * (number % 2), "shift_mean": shift}
        status = "FAILED" if number == 8 else "FINISHED"
        run = make_run(cell, metrics, status, run_id=f"run-{number}", tags=tags, end_time=1_528_934_400_000 + number)
        runs.append(run)
        grades[run.run_id] = Graded(index, correct)
    board = build_leaderboard(small, runs, grades=grades)
    seconds = {run.run_id: [(0, 30.0 + number), (1, 31.0)] for number, run in enumerate(runs)}
    curves = {
        ("resnet18", f"digits, {tune}"): {"pretrain": [[0.5, 0.8], [0.6, 0.7]], "minmax": [[0.1, 0.2]]}
        for tune in ("full", "head")
    }
    return Content(
        study=small,
        board=board,
        others=(build_leaderboard(small, runs, "last_acc"),),
        pair=board,
        datasets=(
            DatasetFacts("digits", 1000, IMAGES, 0, 10, (1, 8, 8), ("f" * 16,), Statistics((0.3,), (0.37,)), "exact"),
        ),
        channels=(
            Channels("digits", "", "", (0.3,), (0.37,), "exact"),
            Channels("digits", "pretrain", "", (-0.81, -0.7, -0.47), (1.62, 1.65, 1.64), "exact"),
        ),
        models=(ModelFacts("resnet18", 11_689_512, 11_176_512, 512),),
        costs=tuple(costs_of(board, runs, seconds)),
        shift=shift_report(board, runs),
        protocol=protocol_of(small, board, runs),
        history=History(curves, ("resnet18",), ("digits, full", "digits, head"), board.settings, "small, test_acc"),
        commands=("tracker sweep --study small", "tracker report --study small -o DIR"),
    )


def empty_content(small: Study, content: Content) -> Content:
    """Return the content of a study of which nothing has run: no figures."""
    board = build_leaderboard(small, [])
    return replace(
        content, board=board, pair=board, others=(), costs=(), history=None,
        shift=shift_report(board, []), protocol=protocol_of(small, board, []),
    )  # fmt: skip
