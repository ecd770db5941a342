"""Which epoch a run is judged by: the three rules, in one place.

best: the highest test accuracy (chosen on the test split itself); last: the last epoch, nothing
selected; selected: the test accuracy at the highest validation accuracy. Of equals, the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Selection:
    """The epochs chosen so far; accuracies are fractions, epochs count from 0.

    Args:
        selected_acc, selected_epoch, selected_val_acc: None without a validation split.
    """

    best_acc: float = -1.0
    best_epoch: int = -1
    last_acc: float = -1.0
    last_epoch: int = -1
    selected_acc: float | None = None
    selected_epoch: int | None = None
    selected_val_acc: float | None = None

    def after(self, epoch: int, *, test_acc: float, val_acc: float | None) -> Selection:
        """Return the choice once `epoch` is known."""
        chosen = replace(self, last_acc=test_acc, last_epoch=epoch)
        if test_acc > self.best_acc:
            chosen = replace(chosen, best_acc=test_acc, best_epoch=epoch)
        if val_acc is not None and (self.selected_val_acc is None or val_acc > self.selected_val_acc):
            chosen = replace(chosen, selected_acc=test_acc, selected_epoch=epoch, selected_val_acc=val_acc)
        return chosen

    def metrics(self) -> dict[str, float]:
        """Return the run's metrics by their logged names."""
        metrics: dict[str, float] = {
            "best_acc": self.best_acc,
            "best_epoch": self.best_epoch,
            "last_acc": self.last_acc,
        }
        if self.selected_acc is not None and self.selected_epoch is not None:
            metrics |= {"selected_acc": self.selected_acc, "selected_epoch": self.selected_epoch}
        return metrics
