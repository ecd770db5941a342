"""How many trials share a device: the numbers that are tried, and the one that is chosen."""

from __future__ import annotations

import os

import pytest
import torch

from tracker.bench import sharing
from tracker.bench.company import Company
from tracker.bench.sharing import choices, chosen, heaviest, trials_that_pay
from tracker.study.load import parse_study
from tracker.study.study import Cell
from tracker.training import mps
from tracker.training.execution import PLAIN
from tracker.vision.stand_ins import Shape, random_images


def company(trials: int, rate: float | None) -> Company:
    """Return what so many trials gave together; None: they do not fit."""
    if rate is None:
        return Company(trials, 1, (), None, "no memory")
    return Company(trials, 1, (rate / trials,) * trials, 1)


@pytest.mark.parametrize(
    ("rates", "tried", "best"),
    [
        ([100, 150, 160, 400], [1, 2, 4, 8], 8),
        ([100, 150, 152, 900], [1, 2, 4], 2),
        ([100, 104], [1, 2], 1),
        ([100, 90], [1, 2], 1),
        ([100, 180, None], [1, 2, 4], 2),
        ([None, 900], [1], 1),
    ],
)
def test_numbers_double_as_long_as_they_pay(rates: list[float | None], tried: list[int], best: int) -> None:
    """What gives less than a twentieth more, or does not fit, ends it; the last that paid is taken."""
    by_trials = {2**place: rate for place, rate in enumerate(rates)}
    found = list(choices(lambda trials: company(trials, by_trials[trials]), most=8))
    assert [each.trials for each in found] == tried
    assert chosen(found) == best


def cells(**axes: list[object]) -> list[Cell]:
    """Return a study's cells on two small datasets."""
    recipe = {
        "model": "squeezenet1_1", "dataset": "few", "source": "random", "normalization": "minmax", "epochs": 2,
        "batch_size": 8,
    }  # fmt: skip
    document = {
        "name": "small",
        "question": "How many at once?",
        "datasets": {"few": {"kind": "digits", "classes": [0, 1]}, "many": {"kind": "digits", "classes": [2, 3, 4]}},
        "recipe": {key: value for key, value in recipe.items() if key not in axes},
        "baseline": "minmax",
        "axes": {"seed": [1], **axes},
    }
    return list(parse_study(document, file="a test's").cells)


IMAGES = {"few": random_images(Shape(40, 8, 32, 2), 1, "few"), "many": random_images(Shape(90, 8, 32, 3), 1, "many")}


def test_what_most_of_the_work_belongs_to_is_measured() -> None:
    """Arithmetic counts, not the number of cells; limits and epochs are considered."""
    recipe, shape = heaviest(cells(dataset=["few", "many"]), IMAGES)
    assert (recipe.dataset, shape) == ("many", Shape(90, 8, 32, 3, 3))
    recipe, _ = heaviest(cells(model=["squeezenet1_1", "resnet18"], seed=[1, 2]), IMAGES)
    assert recipe.model == "resnet18"
    recipe, shape = heaviest(cells(limit_train=[16]), IMAGES)
    assert shape.train == 16


def test_trials_are_really_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes side by side on two cores; what came out is said, and is what was chosen by."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    said: list[str] = []
    best = trials_that_pay(cells(seed=[1, 2, 3]), IMAGES, torch.device("cpu"), "plain", said.append)
    assert said[0] == "measuring how many trials at once pay on cpu: squeezenet1_1 at 32 x 32"
    assert [line.split(":")[0].strip() for line in said[1:-1]] == ["1 at once", "2 at once"]
    assert all(line.endswith("images/s") for line in said[1:-1])
    assert best in (1, 2) and said[-1] == f"trials on each device: {best}"


@pytest.mark.parametrize("serving", [False, True])
def test_a_gpu_whose_trials_took_turns_is_told_of_a_service(monkeypatch: pytest.MonkeyPatch, serving: bool) -> None:
    """Where one at a time was best and NVIDIA's service, with which it may not be, is not there."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(sharing, "usable_execution", lambda *_: PLAIN)
    monkeypatch.setattr(sharing, "side_by_side", lambda *_, trials: company(trials, 100))
    monkeypatch.setattr(mps, "serves", lambda: serving)
    said: list[str] = []
    assert trials_that_pay(cells(seed=[1, 2]), IMAGES, torch.device("cuda"), "plain", said.append) == 1
    assert (said[-1] == mps.IN_TURNS) is not serving


def test_one_cell_or_one_core_needs_no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to choose."""
    monkeypatch.setattr(sharing, "side_by_side", None)
    said: list[str] = []
    assert trials_that_pay(cells(), IMAGES, torch.device("cpu"), "plain", said.append) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert trials_that_pay(cells(seed=[1, 2]), IMAGES, torch.device("cpu"), "plain", said.append) == 1
    assert said == []
