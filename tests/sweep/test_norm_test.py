"""The reference grid on small data: every dataset in its own format, weights in torchvision's."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from tests.vision.raw_files import write_raw
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.sweep.preflight import preflight
from tracker.sweep.workers.cell import ARTIFACTS, Attempt, train_cell
from tracker.sweep.workers.disk import DiskGuard
from tracker.sweep.workers.durable import Keeping
from tracker.sweep.workers.workbench import Workbench
from tracker.vision.checkpoint import read_checkpoint
from tracker.vision.datasets import raw_folder
from tracker.vision.statistics import PUBLISHED

DATASETS = ("cifar10", "cifar100", "svhn", "tiny-imagenet-200")
LEFT_TO_SOAK = ("cifar100", "svhn", "tiny-imagenet-200")
"""Their readers are tested by themselves, and the other one goes all the way each time."""
SMALL = ["epochs=1", "limit_train=6", "limit_test=4", "batch_size=4"]


class Recorder:
    """A run that remembers what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epochs: list[dict[str, float]] = []
        self.tags: dict[str, str] = {}
        self.datasets: list[tuple[str, str]] = []

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: int | None = None) -> None:
        assert epoch == len(self.epochs)
        self.epochs.append(dict(metrics))

    def log_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        assert not history

    def log_file(self, path: Path, folder: str = "") -> None:
        target = self.folder / folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None:
        self.datasets.append((name, context))


def undisturbed(folder: Path) -> Attempt:
    """An attempt at a cell that nothing happens to."""
    guard = DiskGuard(folder, 0, stop=lambda: False, tell=lambda reason: None)
    return Attempt(
        number=1, last_epoch=None, micro_batches=1, accelerate="auto", keep="both",
        keeping=Keeping(folder, lambda: None, guard, None, 600, say=lambda text: None),
        stop=lambda: False, durable=lambda epoch: None,
        on_resume=lambda done, origin: None, on_epoch=lambda result: None,
    )  # fmt: skip


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights of resnet18, seed 0, under a name that carries their hash."""
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "draft")
    digest = hashlib.sha256((folder / "draft").read_bytes()).hexdigest()[:8]
    path = (folder / "draft").rename(folder / f"resnet18-{digest}.pth")
    member = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    changed = dataclasses.replace(member.value, url=f"https://download.pytorch.org/models/{path.name}")
    monkeypatch.setattr(member, "_value_", changed)
    return folder


@pytest.mark.parametrize(
    "dataset", [pytest.param(name, marks=[pytest.mark.soak] if name in LEFT_TO_SOAK else []) for name in DATASETS]
)
def test_the_reference_grid_runs_small(
    dataset: str, home: Home, weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From raw files and ImageNet weights to checkpoints: preflight passes, the four settings train and differ.

    The normalization in each checkpoint has the published statistics: the dataset's for finetune,
    ImageNet's for pretrain.
    """
    write_raw(dataset, raw_folder(dataset, home), monkeypatch)
    study = load_study("norm-test", SMALL, ["model=resnet18", f"dataset={dataset}"])
    assert [cell.recipe.normalization for cell in study.cells] == ["finetune", "pretrain", "instance", "minmax"]
    preflight(study, study.cells, home, device="cpu", weights_dir=weights_dir)
    bench = Workbench(home, torch.device("cpu"), weights_dir)
    losses = {}
    for cell in study.cells:
        setting = cell.recipe.normalization
        run = Recorder(tmp_path / setting)
        outcome = train_cell(cell, bench, run, undisturbed(home.make(home.work / cell.id)))
        losses[setting] = run.epochs[0]["train_loss"]
        assert outcome.metrics["best_acc"] == run.epochs[0]["test_acc"]
        assert run.datasets == [(dataset, "train"), (dataset, "test")]
        assert run.tags["source.fingerprint"].startswith("resnet18 IMAGENET1K_V1 ")
        for name, folder in ARTIFACTS.items():
            assert (run.folder / folder / name).stat().st_size > 0
        facts, tensors = read_checkpoint(run.folder / "checkpoint" / "best.safetensors")
        assert facts.source == PUBLISHED["imagenet"]
        assert facts.target == PUBLISHED[dataset]
        expected = {"finetune": PUBLISHED[dataset], "pretrain": PUBLISHED["imagenet"]}.get(setting)
        found = {name: tensor for name, tensor in tensors.items() if name.startswith("normalization.")}
        assert bool(found) == (expected is not None)
        if expected is not None:
            assert found["normalization.mean"].flatten().tolist() == pytest.approx(expected.mean)
            assert found["normalization.std"].flatten().tolist() == pytest.approx(expected.std)
    for one, other in combinations(losses, 2):
        assert losses[one] != losses[other], (one, other)
    assert np.isfinite(list(losses.values())).all()
