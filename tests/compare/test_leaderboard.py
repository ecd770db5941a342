"""Rules of the leaderboard: what counts, what is compared with what, and that nothing is dropped."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tracker.compare.leaderboard import build_leaderboard, normalizations_of, rows_of
from tracker.compare.scores import OPEN_STATES, Leaderboard, Row
from tracker.study.errors import UsageError
from tracker.study.load import parse_study
from tracker.study.study import Study

DATASETS = ("cifar10", "cifar100", "svhn", "tiny-imagenet-200")

# Bold and underlined in Table 3 of the reference study's README, by model, in the order of DATASETS.
TABLE_3 = {
    "densenet121": ("finetune pretrain", "minmax pretrain", "finetune instance", "finetune pretrain"),
    "densenet161": ("pretrain finetune", "pretrain finetune", "finetune pretrain", "minmax finetune"),
    "resnet18": ("pretrain minmax", "finetune pretrain", "pretrain finetune", "finetune pretrain"),
    "resnet50": ("minmax pretrain", "finetune minmax", "instance minmax", "finetune minmax"),
}

# The signed differences of its Table 2, finetune minus pretrain, in points.
TABLE_2 = {
    "densenet121": (0.02, -0.24, 0.25, 0.42),
    "densenet161": (-0.15, -0.19, 0.05, 0.03),
    "resnet18": (-0.10, 0.12, -0.16, 0.73),
    "resnet50": (-0.42, 0.64, -0.09, 0.16),
}


def row_of(board: Leaderboard, **label: Any) -> Row:
    """Find the one row with this label."""
    [row] = [row for row in board.rows if label.items() <= dict(row.label).items()]
    return row


def test_marks_are_those_of_the_published_table_3(published_board: Leaderboard) -> None:
    """Best and second of each of the 16 rows are what the reference study prints bold and underlined."""
    found = {}
    for row in published_board.rows:
        best = [setting for setting, score in row.scores.items() if score.is_best]
        second = [setting for setting, score in row.scores.items() if score.is_second]
        found[row.label["model"], row.label["dataset"]] = " ".join([*best, *second])
    wanted = {(model, data): marks[i] for model, marks in TABLE_3.items() for i, data in enumerate(DATASETS)}
    assert len(wanted) == 16
    assert found == wanted


def test_deltas_are_those_of_the_published_table_2(published_board: Leaderboard) -> None:
    """Finetune minus pretrain, rounded to 2 decimals of a percent, is what the reference study prints."""
    for model, deltas in TABLE_2.items():
        for dataset, wanted in zip(DATASETS, deltas, strict=True):
            delta = row_of(published_board, model=model, dataset=dataset).scores["finetune"].delta
            assert delta is not None
            assert delta.n == 1
            assert round(100 * delta.mean, 2) == wanted


def test_published_summaries_agree_with_pandas(published_board: Leaderboard, published: pd.DataFrame) -> None:
    """Average ranks and mean deltas over the 16 rows are pandas' of the same file."""
    wide = published.pivot(index=["model", "dataset"], columns="normalization", values="best_acc")
    ranks = wide.rank(axis=1, ascending=False).mean()
    deltas = wide.sub(wide["pretrain"], axis=0).mean()
    for setting in ("finetune", "pretrain", "instance", "minmax"):
        summary = published_board.summaries[setting]
        assert summary.average_rank == pytest.approx(ranks[setting])
        assert summary.rank_rows == 16
        if setting == "pretrain":
            assert (summary.mean_delta, summary.delta_rows) == (None, 0)
        else:
            assert summary.mean_delta == pytest.approx(deltas[setting])
            assert summary.delta_rows == 16
    wins = [row.scores["finetune"].delta for row in published_board.rows]
    assert sum(delta is not None and delta.mean > 0 for delta in wins) == 9


def test_rows_are_the_grid_without_normalization_and_seed(small: Study, reference: Study) -> None:
    """A row has model, dataset and each further axis that varies; the rows come in the grid's order."""
    assert [label for label, _ in rows_of(small)] == [
        {"model": "resnet18", "dataset": "digits", "tune": "full"},
        {"model": "resnet18", "dataset": "digits", "tune": "head"},
    ]
    labels = [tuple(label.values()) for label, _ in rows_of(reference)]
    assert labels == [(model, data) for model in reference.axes["model"] for data in reference.axes["dataset"]]


def test_every_state_is_told(gaps_board: Leaderboard) -> None:
    """A cell without a value is failed, stopped, running, missing or unmeasured, and a note names it."""
    states = {outcome.name: outcome.state for outcome in gaps_board.outcomes}
    prefix = "resnet18/digits/head"
    gaps = {
        f"{prefix}/pretrain/seed=3": "missing",
        f"{prefix}/finetune/seed=1": "failed",
        f"{prefix}/minmax/seed=1": "running",
        f"{prefix}/minmax/seed=2": "stopped",
        f"{prefix}/minmax/seed=3": "unmeasured",
    }
    assert {name: state for name, state in states.items() if state != "measured"} == gaps
    assert set(gaps.values()) == set(OPEN_STATES)
    notes = " ".join(gaps_board.notes)
    for name in gaps:
        assert name in notes


def test_delta_is_over_common_seeds(gaps_board: Leaderboard) -> None:
    """Where seeds are missing the delta is the mean over the pairs there are, and a note says so."""
    score = row_of(gaps_board, tune="head").scores["finetune"]
    assert score.delta is not None
    assert dict(score.delta.by_seed) == {2: pytest.approx(-0.01)}
    assert "resnet18/digits/head/finetune (1 pair)" in " ".join(gaps_board.notes)


def test_no_common_seed_is_no_delta(small: Study, make_run: Any) -> None:
    """Two settings measured at different seeds have no delta, and a note says why."""
    runs = [
        make_run(cell, 0.9)
        for cell in small.cells
        if (cell.recipe.normalization, cell.recipe.seed) in (("pretrain", 1), ("minmax", 2))
    ]
    board = build_leaderboard(small, runs)
    assert [row.scores["minmax"].delta for row in board.rows] == [None, None]
    assert any(note.startswith("No seed in common with pretrain") for note in board.notes)


def test_only_complete_rows_are_ranked(gaps_board: Leaderboard) -> None:
    """The mean rank is over rows in which every cell is measured; ties share their places' average."""
    ranks = {setting: summary.average_rank for setting, summary in gaps_board.summaries.items()}
    assert ranks == {"pretrain": 1.5, "finetune": 1.5, "minmax": 3.0}
    assert {summary.rank_rows for summary in gaps_board.summaries.values()} == {1}


def test_ties_share_the_mark(gaps_board: Leaderboard) -> None:
    """Two settings with the highest mean are both best, and then nothing is second."""
    scores = row_of(gaps_board, tune="full").scores
    assert scores["pretrain"].mean == pytest.approx(0.94)
    assert [score.is_best for score in scores.values()] == [True, True, False]
    assert not any(score.is_second for score in scores.values())


def test_newest_finished_run_counts(small: Study, make_run: Any) -> None:
    """Of several runs of a cell the newest finished one counts, whatever failed or runs after it."""
    cell = small.cells[0]
    runs = [
        make_run(cell, 0.1, start=1),
        make_run(cell, 0.2, start=3),
        make_run(cell, 0.3, start=2),
        make_run(cell, status="FAILED", start=9),
        make_run(cell, {"best_acc": 0.9}, status="RUNNING", start=10),
    ]
    outcome = build_leaderboard(small, runs).outcomes[0]
    assert (outcome.value, outcome.finished_runs, outcome.run_id) == (0.2, 3, f"run-{cell.id}-3")


def test_duplicates_and_strangers_are_noted(gaps_board: Leaderboard) -> None:
    """Runs that do not count are told of: an older twin by name, finished runs of other recipes by number."""
    assert "resnet18/digits/full/minmax/seed=1 (2 runs)" in " ".join(gaps_board.notes)
    assert "1 finished run of other recipes is not part of this table." in gaps_board.notes


def test_runs_without_a_cell_are_no_strangers(small: Study, make_run: Any) -> None:
    """The study's own run, which has no cell, is not counted among runs of other recipes."""
    board = build_leaderboard(small, [make_run(small.cells[0], 0.9, cell_id="")])
    assert not any("other recipes" in note for note in board.notes)
    assert Counter(outcome.state for outcome in board.outcomes) == {"missing": 18}


def test_unfinished_values_do_not_count(small: Study, make_run: Any) -> None:
    """A running cell's best_acc so far is no result; nor is one that is not a number."""
    runs = [make_run(small.cells[0], 0.9, status="RUNNING"), make_run(small.cells[1], math.nan)]
    states = [outcome.state for outcome in build_leaderboard(small, runs).outcomes[:2]]
    assert states == ["running", "unmeasured"]


def test_missing_metric_names_the_cure(small: Study, make_run: Any) -> None:
    """selected_acc of runs without a validation split is a gap that says what it needs."""
    board = build_leaderboard(small, [make_run(cell, 0.9) for cell in small.cells], "selected_acc")
    assert any("val_fraction > 0" in note for note in board.notes)
    assert all(score.mean is None for row in board.rows for score in row.scores.values())


def test_selection_on_the_test_split_is_told(small: Study, make_run: Any) -> None:
    """best_acc says that it is optimistic, last_acc does not."""
    runs = [make_run(cell, {"best_acc": 0.9, "last_acc": 0.8}) for cell in small.cells]
    best, last = (build_leaderboard(small, runs, metric) for metric in ("best_acc", "last_acc"))
    assert "optimistic" in best.selection
    assert any("optimistic" in note for note in best.notes)
    assert "optimistic" not in last.selection + " ".join(last.notes)


def test_one_seed_has_no_spread(published_board: Leaderboard, gaps_board: Leaderboard) -> None:
    """With one seed the SD is None and a note says what that means; with three there is one."""
    assert all(score.sd is None for row in published_board.rows for score in row.scores.values())
    assert any("n = 1" in note for note in published_board.notes)
    assert row_of(gaps_board, tune="full").scores["pretrain"].sd == pytest.approx(0.01)


def test_names_in_notes_are_cut(reference: Study) -> None:
    """A note names eight cells at most, and says how many more there are or that it is all."""
    [note] = [note for note in build_leaderboard(reference, []).notes if note.startswith("Missing")]
    assert note == "Missing, not run yet: 64 cells (all of 64)."


@pytest.mark.parametrize(("key", "value"), [("metric", "test_acc"), ("baseline", "instance")])
def test_unknown_metric_or_baseline(small: Study, key: str, value: str) -> None:
    """A metric that ranks nothing, or a baseline that the study does not have, is a usage error listing what is."""
    with pytest.raises(UsageError, match=value) as caught:
        build_leaderboard(small, [], **{key: value})
    assert ("best_acc" if key == "metric" else "pretrain, finetune, minmax") in str(caught.value)


def test_baseline_can_be_chosen(small: Study, make_run: Any) -> None:
    """Deltas are against the baseline asked for, which has none itself."""
    runs = [make_run(cell, 0.9 if cell.recipe.normalization == "minmax" else 0.95) for cell in small.cells]
    scores = build_leaderboard(small, runs, baseline="minmax").rows[0].scores
    assert scores["minmax"].delta is None
    assert scores["pretrain"].delta is not None
    assert scores["pretrain"].delta.mean == pytest.approx(0.05)


def test_axes_are_optional(make_run: Any) -> None:
    """A study whose normalization, model, dataset and seed are constant still has its one row and setting."""
    recipe = {"model": "resnet18", "dataset": "digits", "normalization": "pretrain"}
    document = {"name": "lone", "question": "?", "recipe": recipe, "axes": {"lr": [0.1, 0.01]}}
    study = parse_study(document, file="lone.yaml")
    board = build_leaderboard(study, [make_run(cell, 0.9) for cell in study.cells])
    assert normalizations_of(study) == ("pretrain",)
    assert [row.label["lr"] for row in board.rows] == [0.1, 0.01]
    assert [row.scores["pretrain"].n for row in board.rows] == [1, 1]


FATES = st.one_of(
    st.floats(0, 1).map(lambda value: (value, "FINISHED")),
    st.sampled_from([0.25, 0.5]).map(lambda value: (value, "FINISHED")),  # ties
    st.sampled_from([(None, "FAILED"), (None, "RUNNING"), (None, "KILLED"), (None, "FINISHED"), None]),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_numbers_and_nothing_dropped(data: st.DataObject, small: Study, make_run: Any) -> None:
    """For any runs: mean, SD and rank are numpy's and SciPy's, the order of runs is nothing, each cell is told."""
    fates = data.draw(st.lists(FATES, min_size=18, max_size=18))
    runs = [make_run(cell, fate[0], fate[1]) for cell, fate in zip(small.cells, fates, strict=True) if fate]
    board = build_leaderboard(small, runs)
    assert build_leaderboard(small, data.draw(st.permutations(runs))) == board
    assert [outcome.cell_id for outcome in board.outcomes] == [cell.id for cell in small.cells]
    for outcome, fate in zip(board.outcomes, fates, strict=True):
        assert (outcome.state == "measured") == (fate is not None and fate[0] is not None)
        assert (outcome.state == "failed") == (fate is not None and fate[1] == "FAILED")
    for row in board.rows:
        for score in row.scores.values():
            values = [outcome.value for outcome in score.outcomes if outcome.value is not None]
            assert score.n == len(values)
            assert (score.mean is None) == (not values)
            assert (score.sd is None) == (len(values) < 2)
            if score.mean is not None:
                assert score.mean == pytest.approx(np.mean(values), abs=1e-12)
            if score.sd is not None:
                assert score.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        ranked = [score for score in row.scores.values() if score.mean is not None]
        means = [round(score.mean, 12) for score in ranked if score.mean is not None]
        assert [score.rank for score in ranked] == pytest.approx(list(stats.rankdata(np.negative(means))))
        assert all(score.is_best == (mean == max(means)) for score, mean in zip(ranked, means, strict=True))
        baseline = row.scores["pretrain"].values
        for setting, score in row.scores.items():
            wanted = {seed: value - baseline[seed] for seed, value in score.values.items() if seed in baseline}
            found = dict(score.delta.by_seed) if score.delta else {}
            assert found == ({} if setting == "pretrain" else wanted)
