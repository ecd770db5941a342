"""The published results are read whole, and their tables reproduced to the digit."""

from __future__ import annotations

import math
import re
from importlib import resources

import numpy as np
import pytest

from tracker.compare.markdown import markdown
from tracker.compare.published.findings import Findings
from tracker.compare.published.results import (
    FILE,
    SEED,
    TEST_IMAGES,
    published_board,
    published_results,
    published_runs,
    published_study,
)
from tracker.compare.published.sections import Best, judgement_sections
from tracker.compare.published.shifts import AS_PRINTED, distance, in_bgr, table_1
from tracker.study.load import load_study
from tracker.tracking.records import RunRecord
from tracker.vision.images import Statistics

DATASETS = ("cifar10", "cifar100", "svhn", "tiny-imagenet-200")

# As printed in the README of TooTouch/Normalization-Test, column by column in the order of DATASETS: accuracies in
# percent, the better one bold, and finetune's with its signed difference to pretrain.
TABLE_2 = """
densenet121 finetune | **89.05** (+00.02) | 63.34 (-00.24) | **95.16** (+00.25) | **59.66** (+00.42)
densenet121 pretrain | 89.03 | **63.58** | 94.91 | 59.24
densenet161 finetune | 90.91 (-00.15) | 67.68 (-00.19) | **95.51** (+00.05) | **61.90** (+00.03)
densenet161 pretrain | **91.06** | **67.87** | 95.46 | 61.87
resnet18 finetune | 87.88 (-00.10) | **61.67** (+00.12) | 95.01 (-00.16) | **53.62** (+00.73)
resnet18 pretrain | **87.98** | 61.55 | **95.17** | 52.89
resnet50 finetune | 89.78 (-00.42) | **67.58** (+00.64) | 94.39 (-00.09) | **67.32** (+00.16)
resnet50 pretrain | **90.20** | 66.94 | **94.48** | 67.16
"""

# The same README: fractions, the best of a row's four settings bold, the second underlined.
TABLE_3 = """
densenet121 finetune | **0.8905** | 0.6334 | **0.9516** | **0.5966**
densenet121 pretrain | <u>0.8903</u> | <u>0.6358</u> | 0.9491 | <u>0.5924</u>
densenet121 instance | 0.8768 | 0.6056 | <u>0.9515</u> | 0.5659
densenet121 minmax | 0.8889 | **0.6367** | 0.9512 | 0.5917
densenet161 finetune | <u>0.9091</u> | <u>0.6768</u> | **0.9551** | <u>0.6190</u>
densenet161 pretrain | **0.9106** | **0.6787** | <u>0.9546</u> | 0.6187
densenet161 instance | 0.8994 | 0.6572 | 0.9537 | 0.6034
densenet161 minmax | 0.9087 | 0.6763 | 0.9525 | **0.6245**
resnet18 finetune | 0.8788 | **0.6167** | <u>0.9501</u> | **0.5362**
resnet18 pretrain | **0.8798** | <u>0.6155</u> | **0.9517** | <u>0.5289</u>
resnet18 instance | 0.8655 | 0.5764 | 0.9455 | 0.5083
resnet18 minmax | <u>0.8797</u> | 0.6118 | 0.9497 | 0.5254
resnet50 finetune | 0.8978 | **0.6758** | 0.9439 | **0.6732**
resnet50 pretrain | <u>0.9020</u> | 0.6694 | 0.9448 | 0.6716
resnet50 instance | 0.8932 | 0.6469 | **0.9465** | 0.6540
resnet50 minmax | **0.9023** | <u>0.6750</u> | <u>0.9449</u> | <u>0.6724</u>
"""


def printed(table: str) -> dict[tuple[str, str, str], str]:
    """Return a printed table's cells by model, setting and dataset."""
    cells = {}
    for line in table.strip().splitlines():
        first, *rest = (part.strip() for part in line.split("|"))
        model, setting = first.split()
        cells.update({(model, setting, dataset): cell for dataset, cell in zip(DATASETS, rest, strict=True)})
    return cells


def test_the_file_is_whole_and_says_where_it_is_from() -> None:
    """64 results, four settings of each model and dataset, under a header that names their source."""
    results = published_results()
    assert len(results) == len({(each.model, each.dataset, each.normalization) for each in results}) == 64
    assert all(0 <= each.best_epoch < 100 for each in results)
    text = resources.files("tracker.compare.published").joinpath(FILE).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "TooTouch/Normalization-Test on GitHub" in text.splitlines()[0]


def test_accuracies_are_whole_numbers_of_images() -> None:
    """Each accuracy times its test images is a whole number, as far as the digits it was saved with can tell."""
    assert {each.dataset for each in published_results()} == set(TEST_IMAGES)
    for each in published_results():
        images = TEST_IMAGES[each.dataset]
        digits = 4 if images == 10_000 else 6
        right = round(each.best_acc * images)
        assert round(right / images, digits) == each.best_acc


def test_its_grid_is_the_shipped_study() -> None:
    """`tracker sweep --study norm-test` reproduces these very cells: the ids are equal, the order is the tables'."""
    study, ours = published_study(), load_study("norm-test")
    assert {cell.id for cell in study.cells} == {cell.id for cell in ours.cells}
    assert len(study.cells) == 64
    assert study.axes["model"] == ("densenet121", "densenet161", "resnet18", "resnet50")
    assert study.axes["dataset"] == DATASETS
    assert {cell.recipe.seed for cell in study.cells} == {SEED}


def test_runs_have_the_fields_of_a_run() -> None:
    """A published result looks like a run from MLflow, so that no code treats it otherwise."""
    run = published_runs(published_study())[0]
    assert set(vars(run)) == set(RunRecord.__dataclass_fields__)
    assert run.metrics == {"best_acc": 0.8905, "best_epoch": 89}


def test_table_2_to_the_digit(findings: Findings) -> None:
    """Accuracies, signed differences and the better one of each pair are printed as the reference study prints them."""
    wanted = printed(TABLE_2)
    assert len(wanted) == 32
    [table, *_] = judgement_sections(findings, ())
    assert len(table.lines) == 16
    for model, dataset, finetune, pretrain, delta, _ in table.lines:
        texts = {}
        for setting, text in (("finetune", finetune), ("pretrain", pretrain)):
            texts[setting] = f"**{text.text}**" if isinstance(text, Best) else text
        texts["finetune"] += f" ({delta[:1]}0{delta[1:]})" if isinstance(delta, str) else ""
        for setting, text in texts.items():
            assert text == wanted.pop((str(model), setting, str(dataset)))
    assert not wanted


def test_table_3_to_the_digit() -> None:
    """The leaderboard's accuracies, best and second marked, are those of the reference study's Table 3."""
    wanted = printed(TABLE_3)
    assert len(wanted) == 64
    board = published_board()
    for row in board.rows:
        for setting, score in row.scores.items():
            assert score.mean is not None
            text = f"{score.mean:.4f}"
            text = f"**{text}**" if score.is_best else f"<u>{text}</u>" if score.is_second else text
            assert text == wanted[str(row.label["model"]), setting, str(row.label["dataset"])]
    # and as printed here: in percent, which moves the point
    pattern = (
        r"^\| (\w+) \| ([\w-]+) \| " + r" \| ".join([r"((?:\*\*|<u>)?\d\d\.\d\d(?:\*\*|</u>)?)[^|]*"] * 4) + r"\|$"
    )
    found = re.findall(pattern, markdown(board), flags=re.MULTILINE)
    assert len(found) == 16
    for model, dataset, *cells in found:
        for setting, cell in zip(board.settings, cells, strict=True):
            percent = wanted[model, setting, dataset].replace("0.", "", 1)
            assert cell == re.sub(r"(\d\d)(\d\d)", r"\1.\2", percent)


def test_no_difference_is_beyond_the_noise_of_the_test_split(findings: Findings) -> None:
    """Each z is that of two proportions, computed here anew; the largest is 1.31, and none of 16 is beyond 1.96."""
    results = {(each.model, each.dataset, each.normalization): each.best_acc for each in published_results()}
    zs = []
    for each in findings.differences:
        p, q = (results[each.model, each.dataset, setting] for setting in ("finetune", "pretrain"))
        images = TEST_IMAGES[each.dataset]
        assert each.z == pytest.approx((p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / images), rel=1e-12)
        zs.append(each.z)
    assert len(zs) == 16
    assert f"{max(np.abs(zs)):.2f}" == f"{abs(findings.largest_z):.2f}" == "1.31"
    assert findings.beyond == 0


def test_over_all_rows(findings: Findings) -> None:
    """Over 16 rows finetune gains 0.07 points with 9 wins; only instance stands apart, but not on SVHN."""
    finetune, instance, minmax = (findings.effect(setting) for setting in ("finetune", "instance", "minmax"))
    assert (findings.wins, finetune.wins, finetune.ties, finetune.losses) == (9, 9, 0, 7)
    assert f"{100 * findings.mean_delta:+.2f}" == f"{100 * finetune.mean_delta:+.2f}" == "+0.07"
    assert f"{100 * instance.mean_delta:+.2f}" == "-1.53"
    assert instance.pooled.interval[1] < 0
    assert instance.beyond == 13
    for other in (finetune, minmax):
        low, high = other.pooled.interval
        assert -0.003 < low < 0 < high < 0.003
        assert other.beyond == 0
    svhn = findings.effect("instance", "svhn")
    assert f"{100 * svhn.mean_delta:+.2f}" == "-0.08"
    assert svhn.pooled.interval[0] < 0 < svhn.pooled.interval[1]
    for dataset in ("cifar10", "cifar100", "tiny-imagenet-200"):
        assert findings.effect("instance", dataset).pooled.interval[1] < 0


def test_effects_are_the_leaderboards(findings: Findings) -> None:
    """The effect over all rows is what any study's leaderboard shows; those by dataset are over four rows each."""
    board = published_board()
    assert len(findings.effects) == 3 * 5
    for effect in findings.effects:
        assert effect.pooled.rows == (16 if effect.dataset == "all" else 4)
        if effect.dataset == "all":
            summary = board.summaries[effect.setting]
            assert effect.pooled == summary.effect
            assert effect.mean_delta == pytest.approx(summary.mean_delta)


def test_table_1_is_of_rgb_images() -> None:
    """Under ImageNet's statistics the printed rows come out within 0.01, Tiny ImageNet's if channels are reversed."""

    def rounded(statistics: Statistics) -> list[float]:
        return [round(value, 2) for value in (*statistics.mean, *statistics.std)]

    found = {each.dataset: each.statistics for each in table_1() if each.normalization == "pretrain"}
    assert set(found) == set(AS_PRINTED) == set(DATASETS)
    off = {
        dataset: [abs(a - b) for a, b in zip(rounded(found[dataset]), rounded(AS_PRINTED[dataset]), strict=True)]
        for dataset in DATASETS
    }
    for dataset in ("cifar10", "cifar100", "svhn"):
        assert max(off[dataset]) < 0.0101
    assert sum(value > 0.005 for dataset in DATASETS[:3] for value in off[dataset]) == 3
    assert max(off["tiny-imagenet-200"]) == pytest.approx(0.37)
    assert rounded(found["tiny-imagenet-200"]) == [-0.02, -0.04, -0.04, 1.21, 1.20, 1.25]
    assert rounded(in_bgr("tiny-imagenet-200")) == rounded(AS_PRINTED["tiny-imagenet-200"])
    assert rounded(AS_PRINTED["tiny-imagenet-200"]) == [-0.38, -0.04, 0.33, 1.23, 1.20, 1.23]


def test_table_1_of_the_other_settings() -> None:
    """finetune and instance give 0 and 1, instance in each image; minmax leaves the dataset's own."""
    rows = {(each.dataset, each.normalization): each for each in table_1()}
    assert len(rows) == 16
    for dataset in DATASETS:
        for setting in ("finetune", "instance"):
            statistics = rows[dataset, setting].statistics
            assert statistics.mean == pytest.approx((0,) * 3)
            assert statistics.std == pytest.approx((1,) * 3)
        assert [rows[dataset, setting].per_image for setting in ("finetune", "instance")] == [False, True]
    assert rows["cifar10", "minmax"].statistics == Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def test_distance_is_that_of_samples() -> None:
    """The distance is the 2-Wasserstein distance of normal samples with these moments, sorted against sorted."""
    draws = np.sort(np.random.default_rng(20_261_121).standard_normal(400_000))
    statistics = Statistics((0.3, -0.2, 0.0), (1.2, 0.9, 1.0))
    squares = [
        np.mean((mean + std * draws - draws) ** 2) for mean, std in zip(statistics.mean, statistics.std, strict=True)
    ]
    assert distance(statistics) == pytest.approx(math.sqrt(np.mean(squares)), rel=0.01)
    assert distance(Statistics((0.0,) * 3, (1.0,) * 3)) == 0
