"""Where a trial stands between two steps, so that it can go on there with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracker.study.seeds import derive_seed
from tracker.training.selection import Selection


@dataclass
class Position:
    """Where a trial stands; `run_epochs` starts from it and moves it along.

    It is up to date whenever an epoch's result is yielded and when `Stopped` is raised. After any
    other error it says nothing, since weights may then be halfway through a step.

    Args:
        epoch: the next to train, or the one begun.
        step: how many steps of it are done.
        loss_sum: the loss of the images trained on in these steps, summed.
        correct: how many of them were classified correctly.
        seconds: what these steps took.
        random: states of torch's generators after them, by kind of device (dropout draws from them);
            empty at the start of an epoch.
        selection: the epochs chosen so far.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    random: dict[str, Tensor] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)

    def halt(self, step: int, *, loss_sum: float, correct: int, seconds: float, device: torch.device) -> None:
        """Stand inside the epoch, `step` steps of it done."""
        self.step, self.loss_sum, self.correct, self.seconds = step, loss_sum, correct, seconds
        self.random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            self.random["cuda"] = torch.cuda.get_rng_state(device)

    def advance(self, selection: Selection) -> None:
        """Stand at the start of the next epoch."""
        self.epoch += 1
        self.step, self.loss_sum, self.correct, self.seconds = 0, 0.0, 0, 0.0
        self.random = {}
        self.selection = selection

    def seed(self, seed: int, device: torch.device) -> None:
        """Bring torch's generators to where they were here, or to the start of the epoch.

        Args:
            seed: the recipe's.
        """
        torch.manual_seed(derive_seed(seed, "dropout", self.epoch))
        if "cpu" in self.random:
            torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and device.type == "cuda":
            torch.cuda.set_rng_state(self.random["cuda"], device)
