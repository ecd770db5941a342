"""A study as if it had been swept: runs, checkpoints and predictions in a home's MLflow file, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.prepared_store import with_store
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.tracking.reading import read_runs
from tracker.tracking.records import RunRecord
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking
from tracker.vision.checkpoint import CheckpointFacts, save_checkpoint
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import build_normalization

SIZE = 32
HOSTILE = ("5", "six\x1b[31m", '<b onload="x">7</b>\n', "=2+3", "neun")
DOCUMENT: dict[str, Any] = {
    "name": "swept",
    "question": "Which one?",
    "baseline": "finetune",
    "datasets": {"five": {"kind": "digits", "classes": [5, 6, 7, 8, 9], "image_size": SIZE}},
    "recipe": {"model": "squeezenet1_1", "dataset": "five", "source": "random", "epochs": 4, "limit_test": 40},
    "axes": {"normalization": ["finetune", "instance"], "seed": [1, 2]},
}


@dataclass(frozen=True)
class Swept:
    """What `sweep_by_hand` made."""

    home: Home
    study: Study

    @property
    def uri(self) -> str:
        """Of the home's MLflow file."""
        return database_uri(self.home)

    def runs(self) -> list[RunRecord]:
        """Its cells' runs, read anew."""
        return read_runs(self.uri, self.study.name)

    def cell(self, normalization: str, seed: int) -> Cell:
        """One of its cells."""
        (found,) = (
            cell for cell in self.study.cells if (cell.recipe.normalization, cell.recipe.seed) == (normalization, seed)
        )
        return found


def build(cell: Cell, images: ImageSet) -> Classifier:
    """A classifier for a cell, untrained, but with classes that are each the most probable of some image."""
    network, head = build_network(cell.recipe.model, channels=1, classes=5, seed=1)
    normalization = build_normalization(cell.recipe.normalization, target=images.statistics, source=None)
    classifier = Classifier(normalization, network, head, 1).eval()
    with torch.no_grad():
        logits = classifier(torch.from_numpy(images.test.images[:40]))  # (40, 5), not negative
        # A ReLU and a mean follow the head's convolution, so its channels can be scaled one by one.
        scale = 20 / logits.mean(dim=0).clamp(min=1e-9)
        for parameter in classifier.head.parameters():
            parameter.mul_(scale.reshape(-1, *[1] * (parameter.ndim - 1)))
            parameter.copy_(parameter.roll(cell.recipe.seed, dims=0))  # another network for each seed
    return classifier


def facts_of(cell: Cell, images: ImageSet, epoch: int, test_acc: float) -> CheckpointFacts:
    """What the checkpoint of a cell says of itself."""
    return CheckpointFacts(
        model=cell.recipe.model,
        channels=1,
        image_size=SIZE,
        classes=HOSTILE,
        normalization=cell.recipe.normalization,
        target=Statistics(images.statistics.mean, images.statistics.std),
        source=None,
        dataset=cell.recipe.dataset,
        fingerprint=images.fingerprint,
        epoch=epoch,
        test_acc=test_acc,
        recipe=cell.recipe.model_dump(mode="json"),
        identity=cell.id,
    )


def checkpoint_by_hand(root: Path) -> Path:
    """Write the best checkpoint of a cell that no sweep has run."""
    study = parse_study(DOCUMENT, file="swept.yaml")
    cell, images = study.cells[0], open_dataset("five", study.dataset("five"), Home(root / "mlruns"))
    path = root / "best.safetensors"
    save_checkpoint(path, build(cell, images).state_dict(), facts_of(cell, images, epoch=2, test_acc=0.8))
    return path


_shared: list[Swept] = []


def shared_sweep(factory: pytest.TempPathFactory) -> Swept:
    """Sweep once for all test files of a process, which is seconds; nobody changes its runs."""
    if not _shared:
        _shared.append(sweep_by_hand(factory.mktemp("swept")))
    return _shared[0]


def sweep_by_hand(root: Path) -> Swept:
    """Make a home, `root/mlruns`, in which every cell of the study is done and kept its best checkpoint.

    finetune has best_acc 0.8 and 0.9 at seeds 1 and 2, instance 0.84 and 0.84; last_acc is the other
    way round: 0.7 everywhere for finetune, 0.8 for instance. Epoch 2 of 0 to 3 was the best.
    """
    home = with_store(Home(root / "mlruns"))
    study = parse_study(DOCUMENT, file="swept.yaml")
    images = open_dataset("five", study.dataset("five"), home)
    tracking = StudyTracking(database_uri(home), home, study)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # without a server MLflow puts files below the current folder
        tracking.open()
    for cell in study.cells:
        finetune = cell.recipe.normalization == "finetune"
        accuracy = 0.7 + 0.1 * cell.recipe.seed if finetune else 0.84
        last = 0.7 if finetune else 0.8
        run = tracking.cell_run(cell, f"{cell.id}-a1", {"tracker.test_images": "40"})
        profile = {"classes": 5, "channels": 1, "image_size": SIZE}
        run.log_dataset("five", images.fingerprint, "train", profile)
        run.log_metrics({"best_acc": accuracy, "best_epoch": 2, "last_acc": last})
        classifier = build(cell, images)
        index = np.arange(0, 80, 2)
        with torch.inference_mode():
            predicted = classifier(torch.from_numpy(images.test.images[index])).argmax(dim=1).numpy()
        scratch = root / "files"
        scratch.mkdir(exist_ok=True)
        path = scratch / "best.safetensors"
        save_checkpoint(path, classifier.state_dict(), facts_of(cell, images, epoch=2, test_acc=accuracy))
        run.log_file(path, "checkpoint")
        np.savez(
            scratch / "predictions.npz", index=index, labels=images.test.labels[index], best=predicted, last=predicted
        )
        run.log_file(scratch / "predictions.npz", "predictions")
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    return Swept(home, study)
