"""All that a trial has so far, beside its classifier and its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from tracker.training.changing import changing
from tracker.training.copies import Copier, nothing
from tracker.training.position import Position
from tracker.training.trial import EpochResult
from tracker.vision.models import Classifier


@dataclass
class TrialState:
    """What a trial has so far; with it, the classifier and the optimizer, another process can go on.

    Args:
        position: given to `run_epochs`, which moves it along.
        history: of each epoch, the time it was done (milliseconds since 1970) and its metrics, the
            choice of the epoch among them.
        predictions: int64, (N,), by the rule that picks their epoch: `best`, `last`, `selected`.
        best: the weights of the best epoch that can change, on the CPU.
        wait: to be called before `best` is read: it may be on its way from a device.
        seconds: wall time of all attempts, as far as its owner has counted.
        copier: of the best weights; those that a store has captured hold until it captures later ones.
    """

    position: Position = field(default_factory=Position)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    predictions: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    wait: Callable[[], None] = nothing
    seconds: float = 0.0
    copier: Copier = field(default_factory=lambda: Copier(places=2), repr=False, compare=False)

    def add(self, result: EpochResult, classifier: Classifier, moment_ms: int) -> None:
        """Take in an epoch that `run_epochs` has just yielded."""
        # best_acc is kept as a running maximum: a search of runs sees a metric's latest value only.
        self.history.append((moment_ms, {**result.metrics, **result.selection.metrics()}))
        self.predictions["last"] = result.predictions
        if result.is_best:
            self.predictions["best"] = result.predictions
            self.best, self.wait = self.copier.copy(changing(classifier))
        if result.is_selected:
            self.predictions["selected"] = result.predictions

    def best_weights(self, classifier: Classifier) -> dict[str, Tensor]:
        """Return the classifier's whole state_dict as it was at the best epoch, on the CPU."""
        self.wait()
        now = {name: tensor.detach().cpu() for name, tensor in classifier.state_dict().items()}
        return {**now, **self.best}
