"""The checkpoint that belongs to a metric, and what is said where there is another, a damaged one, or none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.deploy.swept import Swept
from tracker.deploy.checkpoints import Kept, load_kept
from tracker.deploy.choosing import Choice, choose
from tracker.study.errors import DataDamaged, TrackerError
from tracker.tracking.artifacts import repository
from tracker.tracking.records import RunRecord


def chosen(swept: Swept, metric: str = "best_acc") -> Choice:
    """The choice of one cell."""
    return choose(swept.study, swept.runs(), swept.cell("finetune", 2).id, metric)


def load(swept: Swept, choice: Choice, folder: Path) -> Kept:
    """Its checkpoint."""
    return load_kept(swept.uri, choice, "swept", folder)


def elsewhere(swept: Swept, run: RunRecord, folder: Path) -> RunRecord:
    """The same run with its files copied to `folder`, where a test may damage them."""
    shutil.copytree(repository(swept.uri, run.artifact_uri).artifact_dir, folder)
    return replace(run, artifact_uri=folder.as_uri())


def test_the_network_the_metric_is_of(swept: Swept, tmp_path: Path) -> None:
    """best_acc is of the best epoch, which was kept: no note."""
    kept = load(swept, chosen(swept), tmp_path)
    assert (kept.rule, kept.note) == ("best", None)
    assert (kept.facts.epoch, kept.facts.test_acc) == (2, pytest.approx(0.9))
    assert not kept.classifier.training


def test_another_one_is_told(swept: Swept, tmp_path: Path) -> None:
    """last_acc is of the last epoch, which was not kept: the best is used, and a sentence says so."""
    kept = load(swept, chosen(swept, "last_acc"), tmp_path)
    assert kept.rule == "best"
    assert kept.note is not None
    for part in ("kept best", "last_acc", "epoch 2", "90.00 %"):
        assert part in kept.note


def test_of_both_the_right_one(swept: Swept, tmp_path: Path) -> None:
    """Where both were kept the metric decides; where best was the last epoch, either is right."""
    choice = chosen(swept, "last_acc")
    run = elsewhere(swept, choice.run, tmp_path / "files")
    # Two names for one network do: which is read, the epoch in it tells.
    shutil.copy(tmp_path / "files/checkpoint/best.safetensors", tmp_path / "files/checkpoint/last.safetensors")
    kept = load(swept, replace(choice, run=run), tmp_path)
    assert kept.rule == "last"
    assert load(swept, replace(choice, run=run, metric="best_acc"), tmp_path).rule == "best"
    (tmp_path / "files/checkpoint/last.safetensors").unlink()
    run = replace(run, metrics={**run.metrics, "selected_epoch": 2.0, "selected_acc": 0.9})
    kept = load(swept, replace(choice, run=run, metric="selected_acc"), tmp_path)
    assert (kept.rule, kept.note) == ("best", None)


def test_none_was_kept(swept: Swept, tmp_path: Path) -> None:
    """After --keep none the error says how to get one."""
    choice = chosen(swept)
    run = elsewhere(swept, choice.run, tmp_path / "files")
    shutil.rmtree(tmp_path / "files/checkpoint")
    with pytest.raises(TrackerError, match="--keep none") as caught:
        load(swept, replace(choice, run=run), tmp_path)
    assert f"tracker retry --study swept --cell {choice.cell.id} --anew" in str(caught.value)


def test_a_damaged_one_and_another_cells(swept: Swept, tmp_path: Path) -> None:
    """A truncated file, and the checkpoint of another cell, are refused with the run's id."""
    choice = chosen(swept)
    run = elsewhere(swept, choice.run, tmp_path / "files")
    file = tmp_path / "files/checkpoint/best.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataDamaged, match=f"run {run.run_id}, checkpoint/best.safetensors: is damaged"):
        load(swept, replace(choice, run=run), tmp_path)
    file.write_bytes(whole)
    other = swept.cell("finetune", 1)
    with pytest.raises(DataDamaged, match=f"is of cell {choice.cell.id}, not of {other.id}"):
        load(swept, replace(choice, run=run, cell=other), tmp_path)
