"""What drives the device through an epoch: steps, and the judging of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from tracker.training.evaluate import Evaluation, evaluate, evaluation_batch
from tracker.training.splits import DeviceSplit
from tracker.training.step import take_step
from tracker.training.tally import Tally
from tracker.vision.augmentation import EpochPlan
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.models import Classifier


class Stepper(Protocol):
    """One way of carrying out a trial's steps; all give the same numbers, up to rounding."""

    def train(self, split: DeviceSplit, batch: EpochPlan) -> None:
        """Train on the images that a batch names, and count them in the tally."""
        ...

    def evaluate(self, split: DeviceSplit) -> Evaluation:
        """Judge every image of a split once."""
        ...

    def close(self) -> None:
        """Let go of what is held on the device."""
        ...


@dataclass(frozen=True)
class PlainStepper:
    """Every kernel started by the host, in turn: the reference.

    Args:
        micro_batches: as of `take_step`, and of `evaluation_batch`.
        tally: what steps are counted in.
    """

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    pipeline: InputPipeline
    micro_batches: int
    tally: Tally

    def train(self, split: DeviceSplit, batch: EpochPlan) -> None:
        """Train on the images that a batch names."""
        take_step(
            self.classifier,
            self.optimizer,
            split,
            batch,
            self.pipeline,
            self.micro_batches,
            self.tally.loss_sum,
            self.tally.correct,
        )
        self.tally.count_step()

    def evaluate(self, split: DeviceSplit) -> Evaluation:
        """Judge every image of a split once."""
        size = evaluation_batch(split.labels.device, self.micro_batches)
        return evaluate(self.classifier, split, size, self.pipeline)

    def close(self) -> None:
        """Do nothing: nothing is held."""
