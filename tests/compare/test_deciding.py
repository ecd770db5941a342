"""Rules of growing a study: which seeds undecided comparisons get, and when they get none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compare.conftest import SMALL, MakeRun
from tracker.compare.comparison import Rules
from tracker.compare.deciding import Decision, Open, next_seeds
from tracker.compare.grading import Graded
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study

Judge = Callable[..., Leaderboard]
SETTINGS = ("pretrain", "finetune", "minmax")
PRETRAIN, FINETUNE, MINMAX = (f"resnet18/digits/full/{setting}" for setting in SETTINGS)


def made(seeds: list[int], **others: Any) -> Study:
    """Make a study of two rows and three settings."""
    return parse_study({**SMALL, "axes": {**SMALL["axes"], "seed": seeds}, "looks": 1, **others}, file="grown.yaml")


@pytest.fixture(scope="module")
def judge(make_run: MakeRun) -> Judge:
    """Judge a study by what a function says of its cells: an accuracy, or None for a cell that was cancelled."""

    def judge(study: Study, value: Callable[[Cell], float | None], **grades: Any) -> Leaderboard:
        runs = [make_run(cell, found) for cell in study.cells if (found := value(cell)) is not None]
        return build_leaderboard(study, runs, rules=Rules(look=study.looks), **grades)

    return judge


def noisy(effects: Mapping[str, float], sd: float) -> Callable[[Cell], float]:
    """Return accuracies: 90 % and the setting's effect, with noise of its own for each cell."""

    def value(cell: Cell) -> float:
        noise = np.random.default_rng(int(cell.id, 16)).normal(scale=sd)
        return float(0.9 + effects.get(cell.recipe.normalization, 0.0) + noise)

    return value


def far_apart(row: str = "full", setting: str = "minmax") -> Callable[[Cell], float]:
    """Return accuracies by which everything is decided but one comparison, whose pairs differ by -1 to 1 points."""

    def value(cell: Cell) -> float:
        recipe = cell.recipe
        if recipe.normalization == "pretrain":
            return 0.9
        if (recipe.tune, recipe.normalization) == (row, setting):
            return 0.9 + (recipe.seed % 3 - 1) / 100
        return 0.8 + 1e-6 * (recipe.seed % 2)

    return value


def added(decision: Decision, study: Study) -> dict[str, tuple[int, ...]]:
    """Return the seeds that a decision adds, by configuration."""
    assert decision.study is not None
    before = study.more_seeds
    return {name: seeds[len(before.get(name, ())) :] for name, seeds in decision.study.more_seeds.items()}


def test_only_what_is_undecided_grows(judge: Judge) -> None:
    """The one undecided setting and its row's baseline get the same new seeds; everything else stays."""
    study = made([1, 2, 3])
    decision = next_seeds(study, judge(study, far_apart()))
    assert (decision.comparisons, decision.undecided, decision.cells, decision.left) == (4, 1, 6, ())
    assert added(decision, study) == {PRETRAIN: (4, 5, 6), MINMAX: (4, 5, 6)}
    assert decision.study is not None
    assert decision.study.looks == 2
    assert decision.study.cells[: len(study.cells)] == study.cells


def test_nothing_is_added_where_all_is_decided(judge: Judge) -> None:
    """There is no further round then."""
    study = made([1, 2, 3])
    decision = next_seeds(study, judge(study, far_apart(setting="none")))
    assert decision == Decision(study=None, added={}, comparisons=4, undecided=0, left=())


def test_settings_of_a_row_share_new_seeds(judge: Judge) -> None:
    """The baseline is trained once for both; one seed is brought to three, as no noise is known of one."""
    study = made([1])
    decision = next_seeds(study, judge(study, noisy({}, 0.01)))
    assert decision.undecided == 4
    assert set(added(decision, study)) == {cell.configuration_name for cell in study.cells}
    assert set(added(decision, study).values()) == {(2, 3)}


def test_seeds_that_the_baseline_has_come_first(judge: Judge) -> None:
    """A setting that joins late takes the seeds its baseline has been trained with; new numbers come after those."""
    study = made([1, 2, 3], more_seeds={PRETRAIN: [7, 8], FINETUNE: [7, 8]})
    decision = next_seeds(study, judge(study, far_apart()))
    assert added(decision, study) == {PRETRAIN: (9,), FINETUNE: (), MINMAX: (7, 8, 9)}


def test_seeds_that_were_cancelled_are_passed_over(judge: Judge) -> None:
    """A pair that cannot come about is not waited for; new seeds make up for it."""
    study = made([1, 2, 3], more_seeds={PRETRAIN: [4, 5]})
    values = far_apart()
    board = judge(study, lambda cell: None if cell.name == f"{PRETRAIN}/seed=4" else values(cell))
    decision = next_seeds(study, board)
    assert added(decision, study) == {PRETRAIN: (6, 7), MINMAX: (5, 6, 7)}


def test_cancelled_seeds_count_towards_the_limit(judge: Judge) -> None:
    """A baseline that has as many seeds as may be gets no more, though its setting has room and some were cancelled."""
    study = made([1, 2, 3], more_seeds={PRETRAIN: [4, 5]})
    values = far_apart()
    cancelled = [f"{PRETRAIN}/seed={seed}" for seed in (4, 5)]
    board = judge(study, lambda cell: None if cell.name in cancelled else values(cell))
    assert next_seeds(study, board, max_seeds=5).left == (Open("resnet18/digits/full", "minmax", "seeds"),)


def test_seeds_do_not_outgrow_their_range(judge: Judge) -> None:
    """After the largest seed there is come the smallest that are free."""
    study = made([0, 2, 2**63 - 1])
    decision = next_seeds(study, judge(study, far_apart()))
    assert added(decision, study)[MINMAX] == (1, 3, 4)


@pytest.mark.parametrize(("max_seeds", "expected"), [(20, 3), (5, 2), (3, None), (2, None)])
def test_the_limit_is_kept(judge: Judge, max_seeds: int, expected: int | None) -> None:
    """As many seeds are added as there is room for; without any the comparison is left undecided, with the reason."""
    study = made([1, 2, 3])
    decision = next_seeds(study, judge(study, far_apart()), max_seeds)
    if expected is None:
        assert decision.study is None
        assert decision.left == (Open("resnet18/digits/full", "minmax", "seeds"),)
    else:
        assert len(added(decision, study)[MINMAX]) == expected
        assert decision.left == ()


def test_what_seeds_cannot_decide_is_left(judge: Judge) -> None:
    """Where the noise is the test images', no seed is added; it is said that images are lacking."""
    study = made([1, 2])
    right = {"pretrain": [True] * 5 + [False] * 5, "finetune": [False] * 4 + [True] * 6, "minmax": [False] * 10}
    grades = {
        f"run-{cell.id}-0": Graded(np.arange(10, dtype=np.int32), np.array(right[cell.recipe.normalization]))
        for cell in study.cells
    }
    board = judge(study, lambda cell: sum(right[cell.recipe.normalization]) / 10, grades=grades)
    decision = next_seeds(study, board)
    finetune = [left for left in decision.left if left.setting == "finetune"]
    assert [left.reason for left in finetune] == ["images", "images"]
    assert not any(setting == "finetune" for _, setting in decision.added)


def test_what_cannot_be_compared_is_left(make_run: MakeRun) -> None:
    """Runs of another dataset content, and settings without a common seed, get no further seeds either."""
    study = made([1, 2, 3])
    values = far_apart(setting="none")
    runs = []
    for cell in study.cells:
        run = make_run(cell, values(cell))
        if cell.configuration_name == MINMAX:
            run = replace(run, tags={**run.tags, "dataset.fingerprint": "another"})
        elif cell.configuration_name == PRETRAIN:
            run = replace(run, tags={**run.tags, "dataset.fingerprint": "one"})
        elif cell.recipe.tune == "head" and cell.recipe.normalization == "finetune":
            run = replace(run, status="KILLED", metrics={})
        runs.append(run)
    decision = next_seeds(study, build_leaderboard(study, runs, rules=Rules(look=1)))
    assert decision.study is None
    assert decision.left == (
        Open("resnet18/digits/full", "minmax", "conditions"),
        Open("resnet18/digits/head", "finetune", "cells"),
    )


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """A study of one to four seeds, some of its configurations with further ones."""
    more = st.lists(st.integers(5, 9), min_size=1, max_size=3, unique=True)
    return made(
        [1, 2, 3, 4][: draw(st.integers(1, 4))],
        more_seeds=draw(st.dictionaries(st.sampled_from([PRETRAIN, FINETUNE, MINMAX]), more, max_size=3)),
        looks=draw(st.integers(0, 4)),
    )


@settings(max_examples=60)
@given(
    study=studies(),
    accuracies=st.lists(st.integers(8_900, 9_100), min_size=6, max_size=6),
    sd=st.sampled_from([1e-5, 1e-3, 1e-2]),
    max_seeds=st.integers(2, 12),
)
def test_what_holds_of_every_growth(
    judge: Judge, study: Study, accuracies: list[int], sd: float, max_seeds: int
) -> None:
    """Each undecided comparison gets new pairs or a reason, never both; all else, and what is there, stays."""
    names = list(dict.fromkeys(cell.configuration_name for cell in study.cells))
    centre = {name: accuracy / 10_000 for name, accuracy in zip(names, accuracies, strict=True)}
    noise = noisy({}, sd)
    board = judge(study, lambda cell: noise(cell) - 0.9 + centre[cell.configuration_name])
    decision = next_seeds(study, board, max_seeds)
    assert next_seeds(study, board, max_seeds) == decision
    grown = study if decision.study is None else decision.study
    assert (decision.study is None) == (not decision.added)
    assert grown == parse_study(grown.document(), file="again")
    assert len(grown.cells) == len(study.cells) + decision.cells

    before, after = seeds_of(study), seeds_of(grown)
    left = {(open_.row, open_.setting) for open_ in decision.left}
    undecided = 0
    for row in board.rows:
        baseline = f"{row.name}/pretrain"
        partners = set()
        for setting in ("finetune", "minmax"):
            name = f"{row.name}/{setting}"
            assert after[name][: len(before[name])] == before[name]
            comparison = row.scores[setting].comparison
            assert comparison is not None
            pairs = set(before[name]) & set(before[baseline])
            further = set(after[name]) & set(after[baseline]) - pairs
            if comparison.verdict == "undecided":
                undecided += 1
                partners |= set(after[name])
                assert bool(further) != ((row.name, setting) in left)
                assert len(set(after[name]) - set(before[name])) <= max(len(pairs), 2)
            else:
                assert after[name] == before[name] and (row.name, setting) not in left
        assert set(after[baseline]) - set(before[baseline]) <= partners
    assert undecided == decision.undecided
    assert all(len(seeds) <= max(max_seeds, len(before[name])) for name, seeds in after.items())


def seeds_of(study: Study) -> dict[str, list[int]]:
    """Return a study's seeds by configuration, in its order."""
    found: dict[str, list[int]] = {}
    for cell in study.cells:
        found.setdefault(cell.configuration_name, []).append(cell.recipe.seed)
    return found


@pytest.mark.parametrize(
    ("effects", "sd", "verdicts", "most"),
    [
        ({"finetune": 0.03, "minmax": -0.03}, 0.004, {"better", "worse"}, 8),
        ({}, 0.0005, {"equivalent"}, 20),
        ({"finetune": 0.003, "minmax": 0.003}, 0.03, {"undecided"}, 20),
    ],
    ids=["effects", "no effect", "too much noise"],
)
def test_growing_ends(judge: Judge, effects: dict[str, float], sd: float, verdicts: set[str], most: int) -> None:
    """Round after round it comes to verdicts, or to the limit; rounds are few, since seeds double."""
    study, rounds = made([1, 2, 3]), 1
    values = noisy(effects, sd)
    while (grown := next_seeds(study, judge(study, values)).study) is not None:
        study, rounds = grown, rounds + 1
    board = judge(study, values)
    assert {c.verdict for row in board.rows for score in row.scores.values() if (c := score.comparison)} == verdicts
    assert study.looks == rounds <= 6
    assert max(map(len, seeds_of(study).values())) <= most
