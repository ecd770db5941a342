"""What the steps of an epoch add up to, kept on the device and read once."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Sums(NamedTuple):
    """What an epoch's steps add up to, on the host.

    Args:
        loss: of all images trained on, summed.
        correct: how many of them were classified correctly.
        sound: how many steps were done before the loss was no finite number any more.
    """

    loss: float
    correct: int
    sound: int


class Tally:
    """Sums on the device, in the same memory in each epoch, so that a recorded step can add to them.

    Attributes:
        loss_sum: float64, ().
        correct: int64, ().
    """

    def __init__(self, device: torch.device) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self._sound = torch.zeros((), dtype=torch.int64, device=device)

    def start(self, sums: Sums) -> None:
        """Go on from what steps before added up to."""
        self.loss_sum.fill_(sums.loss)
        self.correct.fill_(sums.correct)
        self._sound.fill_(sums.sound)

    def count_step(self) -> None:
        """Take note that a step is done; a sum that was not finite once stays so."""
        self._sound += torch.isfinite(self.loss_sum)

    def read(self) -> Sums:
        """Wait for the device, once, and return the sums."""
        found = torch.stack([self.loss_sum, self.correct.double(), self._sound.double()]).tolist()
        return Sums(loss=found[0], correct=int(found[1]), sound=int(found[2]))
