"""Which cell is exported, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.swept import DOCUMENT
from tracker.deploy.choosing import choose
from tracker.study.errors import TrackerError, UsageError
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.tracking.records import RunRecord

VALUES = {("finetune", 1): 0.8, ("finetune", 2): 0.9, ("instance", 1): 0.84, ("instance", 2): 0.84}


def study_of(**axes: list[Any]) -> Study:
    """The study of `swept`, or one with other axes."""
    recipe = {key: value for key, value in DOCUMENT["recipe"].items() if key not in axes}
    return parse_study({**DOCUMENT, "recipe": recipe, "axes": {**DOCUMENT["axes"], **axes}}, file="swept.yaml")


def run_of(cell: Cell, value: float | None, status: str = "FINISHED", start: int = 0) -> RunRecord:
    """A run of a cell with this best_acc."""
    metrics = {} if value is None else {"best_acc": value, "best_epoch": 1.0, "last_acc": 0.5}
    return RunRecord(f"r{start}", cell.name, cell.id, status, {}, metrics, {"tracker.test_images": "40"}, start, 1)


def runs_of(study: Study) -> list[RunRecord]:
    """A finished run for each cell, by `VALUES`."""
    return [run_of(cell, VALUES[cell.recipe.normalization, cell.recipe.seed]) for cell in study.cells]


def test_the_best_is_the_configuration_with_the_highest_mean() -> None:
    """finetune's mean of 0.85 beats instance's 0.84; of its seeds the higher is taken, and said to be optimistic."""
    study = study_of()
    choice = choose(study, runs_of(study), "best", "best_acc")
    assert (choice.cell.recipe.normalization, choice.cell.recipe.seed) == ("finetune", 2)
    assert (choice.value, choice.test_images) == (0.9, 40)
    said = " ".join(choice.reasons)
    for part in ("mean 85.00 %", "n = 2 seeds", "sample SD 7.07", "picked on the test images", "not 90.00 %"):
        assert part in said


def test_one_lucky_seed_does_not_win() -> None:
    """A configuration with the highest single seed but a lower mean is not the winner."""
    study = study_of()
    lucky = {**VALUES, ("finetune", 1): 0.1}
    runs = [run_of(cell, lucky[cell.recipe.normalization, cell.recipe.seed]) for cell in study.cells]
    choice = choose(study, runs, "best", "best_acc")
    assert (choice.cell.recipe.normalization, choice.cell.recipe.seed) == ("instance", 1)


def test_of_equals_the_first_and_gaps_are_told() -> None:
    """Equal means: the grid's order decides. What has not finished is counted."""
    study = study_of()
    runs = [run_of(cell, 0.5) for cell in study.cells[:3]]
    choice = choose(study, runs, "best", "best_acc")
    assert choice.cell == study.cells[0]
    assert "1 of 4 cells have no best_acc" in choice.reasons[-1]


def test_where_narrows() -> None:
    """With --where the best is of those cells alone; an unknown key or value names what there is."""
    study = study_of()
    runs = runs_of(study)
    choice = choose(study, runs, "best", "best_acc", {"normalization": "instance", "seed": "2"})
    assert (choice.cell.recipe.normalization, choice.cell.recipe.seed) == ("instance", 2)
    assert "n = 1" in choice.reasons[1]
    with pytest.raises(UsageError, match="accepted: finetune, instance"):
        choose(study, runs, "best", "best_acc", {"normalization": "minmax"})
    with pytest.raises(UsageError, match="accepted: normalization, seed"):
        choose(study, runs, "best", "best_acc", {"colour": "red"})
    with pytest.raises(UsageError, match="--where goes with --cell best"):
        choose(study, runs, study.cells[0].id, "best_acc", {"seed": "1"})


@pytest.mark.parametrize(
    ("key", "values", "cure"),
    [
        ("dataset", ["digits", "five"], "--where dataset=digits"),
        ("shift", ["as-is", "invert"], "--where shift=as-is"),
        ("limit_test", [40, 80], "--where limit_test=40"),
    ],
)
def test_accuracies_on_other_images_do_not_compare(key: str, values: list[Any], cure: str) -> None:
    """Over several datasets, shifts or test splits there is no best; the message says how to choose one."""
    study = study_of(**{key: values})
    runs = runs_of(study)
    with pytest.raises(UsageError, match=f"several values of {key}") as caught:
        choose(study, runs, "best", "best_acc")
    assert cure in str(caught.value)
    assert getattr(choose(study, runs, "best", "best_acc", {key: str(values[1])}).cell.recipe, key) == values[1]


def test_a_cell_by_id_prefix_or_name() -> None:
    """All 12 digits, enough of them, or the name; too few or unknown ones are refused with those there are."""
    study = study_of()
    runs, cell = runs_of(study), study.cells[1]
    for word in (cell.id, cell.id[:8], cell.name):
        choice = choose(study, runs, word, "best_acc")
        assert choice.cell == cell
        assert choice.reasons == ()
    with pytest.raises(UsageError, match="has no cell 'resnet99'"):
        choose(study, runs, "resnet99", "best_acc")
    with pytest.raises(UsageError, match="4 cells of study swept begin with ''"):
        choose(study, runs, "", "best_acc")


@pytest.mark.parametrize(
    ("status", "said"),
    [("RUNNING", "is still running"), ("FAILED", "failed"), ("KILLED", "was stopped"), (None, "has not run")],
)
def test_a_cell_that_is_not_done(status: str | None, said: str) -> None:
    """It is named with what became of it."""
    study = study_of()
    cell = study.cells[0]
    runs = [] if status is None else [run_of(cell, 0.5, status)]
    with pytest.raises(TrackerError, match=said) as caught:
        choose(study, runs, cell.id, "best_acc")
    assert "tracker status --study swept" in str(caught.value)
    with pytest.raises(TrackerError, match="no cell of study swept has finished"):
        choose(study, runs, "best", "best_acc")


def test_the_newest_finished_run_counts() -> None:
    """A cell that ran twice is known by its newer run, one that is running anew by the finished one."""
    study = study_of()
    cell = study.cells[0]
    runs = [run_of(cell, 0.5, start=1), run_of(cell, 0.6, start=2), run_of(cell, 0.7, "RUNNING", start=3)]
    assert choose(study, runs, cell.id, "best_acc").run.run_id == "r2"


def test_a_metric_that_was_not_logged() -> None:
    """selected_acc without a validation split is refused, and the reason given."""
    study = study_of()
    for word in ("best", study.cells[0].id):
        with pytest.raises(UsageError, match="val_fraction"):
            choose(study, runs_of(study), word, "selected_acc")
