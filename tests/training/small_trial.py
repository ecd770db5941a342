"""A trial of a few numbers, to save and load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tracker.training.state import TrialState
from tracker.training.store import Loaded, StateStore
from tracker.training.trial import EpochResult
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax

IDENTITY = {"cell": "a", "dataset": "b"}


class Trial:
    """A trial of a few numbers; `train` does what an epoch does to them."""

    def __init__(self, hidden: int = 5, kind: Callable[..., Optimizer] = Adam) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 3))
        self.classifier = Classifier(MinMax(), network, "3", channels=1)
        self.optimizer = kind(self.classifier.parameters(), lr=0.1)
        self.state = TrialState()

    def train(self, accuracy: float = 0.5) -> None:
        """Do an epoch that ends with this accuracy on the test split."""
        images = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
        self.classifier.train()(images).square().sum().backward()
        self.optimizer.step()
        epoch, position = self.state.position.epoch, self.state.position
        position.advance(position.selection.after(epoch, test_acc=accuracy, val_acc=None))
        metrics = {"train_loss": 0.1 + epoch, "test_acc": accuracy}
        result = EpochResult(epoch, metrics, torch.randint(0, 3, (9,)), position.selection)
        self.state.add(result, self.classifier, 1_700_000_000_000 + epoch)

    def save(self, store: StateStore) -> Path:
        """Save it all."""
        return store.save(self.state, self.classifier, self.optimizer)

    def load(self, store: StateStore) -> Loaded:
        """Load what there is; what was found becomes this trial's state."""
        loaded = store.load(self.classifier, self.optimizer)
        self.state = loaded.state or TrialState()
        return loaded

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of everything there is in tensors."""
        found = {f"weights {name}": tensor for name, tensor in self.classifier.state_dict().items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer {index} {name}": value for name, value in entries.items()}
        for what in ("best", "predictions"):
            found |= {f"{what} {name}": tensor for name, tensor in getattr(self.state, what).items()}
        found |= {f"random {kind}": tensor for kind, tensor in self.state.position.random.items()}
        return {name: tensor.clone() for name, tensor in found.items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether two sets of tensors are the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def names(folder: Path) -> list[str]:
    """Return the files of a folder without their hashes, hidden ones too."""
    return sorted(
        path.stem.rpartition("-")[0] if path.suffix == ".safetensors" else path.name for path in folder.iterdir()
    )
