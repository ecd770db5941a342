"""Steps and evaluation recorded once for each size of batch, and replayed.

A recording reads the batch from tensors that stay where they are; each batch is copied there. The first steps of a
size are done by the host: they are real ones, and whatever is made at a first call is made there (an optimizer's
memory, kernels chosen, workspaces). Where something cannot be recorded the plain steps go on from that very step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tracker.training.evaluate import Evaluation, concluded, evaluation_batch
from tracker.training.graphs import Recorder, Work
from tracker.training.splits import DeviceSplit, TrialData
from tracker.training.step import letting_go
from tracker.training.stepper import PlainStepper
from tracker.vision.augmentation import EpochPlan
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.models import Classifier

REHEARSALS = 3
"""Times a piece of work is done by the host before it is recorded, as torch advises."""
NO_CLASS = -100
"""A label that `cross_entropy` leaves out, and no prediction equals."""


@dataclass
class _Piece:
    """A piece of work: rehearsed as often as `left` says, then recorded, then replayed."""

    work: Work
    left: int
    replay: Work | None = None


class _Batch:
    """Where a recorded step of one size finds its images: their plan, and their bytes where those come by the batch.

    Args:
        resident: the split whose images stay where they are; they are read in place.
    """

    def __init__(self, split: DeviceSplit, batch: EpochPlan, resident: DeviceSplit) -> None:
        self.plan = batch.clone()
        self.split = split if split is resident else DeviceSplit(split.images.clone(), split.labels.clone())

    def take(self, split: DeviceSplit, batch: EpochPlan) -> None:
        """Copy the next batch here."""
        self.plan.copy_(batch)
        if split is not self.split:
            self.split.images.copy_(split.images)
            self.split.labels.copy_(split.labels)


class _Judge:
    """Judges images in batches of one size, whichever split they are of; the last is filled up with no matter what.

    Args:
        like: a split, for the shape of its images.
        size: of every batch.
    """

    def __init__(self, classifier: Classifier, pipeline: InputPipeline, like: DeviceSplit, size: int) -> None:
        self._classifier = classifier
        self._pipeline = pipeline
        self._images = like.images.new_zeros((size, *like.images.shape[1:]))  # uint8, (B, C, H, W)
        self._labels = like.labels.new_full((size,), NO_CLASS)
        self.predicted = torch.zeros_like(self._labels)
        self.loss = torch.zeros((), dtype=torch.float64, device=like.labels.device)
        self.size = size

    def take(self, part: DeviceSplit) -> None:
        """Copy the next images here; whatever lies behind them is not counted."""
        self._images[: len(part)].copy_(part.images)
        self._labels[: len(part)].copy_(part.labels)
        self._labels[len(part) :].fill_(NO_CLASS)

    @torch.inference_mode()
    def work(self) -> None:
        """Judge the images that are here."""
        logits = self._classifier.network(self._pipeline(self._images))  # (B, K)
        self.loss += F.cross_entropy(logits, self._labels, reduction="sum", ignore_index=NO_CLASS)
        self.predicted.copy_(logits.argmax(dim=1))


class RecordedStepper:
    """Steps that are recorded and replayed, as far as they can be.

    Args:
        plain: what is recorded, and what goes on where that fails.
        say: told, once, why nothing is recorded any more.
        rehearsals: times each piece is done by the host first.
    """

    def __init__(
        self,
        plain: PlainStepper,
        recorder: Recorder,
        data: TrialData,
        say: Callable[[str], None],
        rehearsals: int = REHEARSALS,
    ) -> None:
        self._plain = plain
        self._recorder: Recorder | None = recorder
        self._resident = data.train
        self._judged = max(len(split) for split in (data.val, data.test) if split is not None)
        self._say = say
        self._rehearsals = rehearsals
        self._steps: dict[int, tuple[_Batch, _Piece]] = {}
        self._judging: tuple[_Judge, _Piece] | None = None

    def train(self, split: DeviceSplit, batch: EpochPlan) -> None:
        """Train on the images that a batch names."""
        if self._recorder is not None:
            size = len(batch)
            if size not in self._steps:
                fixed = _Batch(split, batch, self._resident)
                work = partial(self._plain.train, fixed.split, fixed.plan)
                self._steps[size] = fixed, _Piece(work, self._rehearsals)
            fixed, piece = self._steps[size]
            fixed.take(split, batch)
            if self._do(self._recorder, piece):
                return
        self._plain.train(split, batch)

    def evaluate(self, split: DeviceSplit) -> Evaluation:
        """Judge every image of a split once."""
        found = None if self._recorder is None else self._judge(self._recorder, split)
        return self._plain.evaluate(split) if found is None else found

    def close(self) -> None:
        """Let go of the recordings and of their memory, in which the gradients lie."""
        self._recorder = None
        self._steps.clear()
        self._judging = None
        self._plain.optimizer.zero_grad(set_to_none=True)

    def _judge(self, recorder: Recorder, split: DeviceSplit) -> Evaluation | None:
        """Judge a split in recorded batches; None where they cannot be recorded."""
        self._plain.classifier.eval()
        if self._judging is None:
            size = min(evaluation_batch(split.labels.device, self._plain.micro_batches), self._judged)
            judge = _Judge(self._plain.classifier, self._plain.pipeline, split, size)
            self._judging = judge, _Piece(judge.work, self._rehearsals)
        judge, piece = self._judging
        judge.loss.zero_()
        predicted = torch.empty_like(split.labels)
        first = 0
        with closing(split.in_order(judge.size)) as parts:
            for part in parts:
                judge.take(part)
                if not self._do(recorder, piece):
                    return None
                predicted[first : first + len(part)].copy_(judge.predicted[: len(part)])
                first += len(part)
        return concluded(judge.loss, predicted, split.labels)

    def _do(self, recorder: Recorder, piece: _Piece) -> bool:
        """Do a piece of work; return False where it was to be recorded and could not: it is not done then."""
        if piece.replay is not None:
            piece.replay()
        elif piece.left:
            piece.left -= 1
            recorder.rehearse(piece.work)
        else:
            piece.replay = self._record(recorder, piece.work)
            if piece.replay is None:
                return False
            piece.replay()
        return True

    def _record(self, recorder: Recorder, work: Work) -> Work | None:
        """Record a piece of work; None where it cannot be, and then nothing is left of the attempt."""
        optimizer = self._plain.optimizer
        memory = {weight: dict(entries) for weight, entries in optimizer.state.items()}
        optimizer.zero_grad(set_to_none=True)  # so that the recording has gradients of its own
        try:
            with letting_go(optimizer):
                return recorder.record(work)
        except Exception as error:  # whatever a driver, a library or an allocator says: the plain steps need less
            _put_back(optimizer, memory)
            self._say(f"steps are not recorded but done one by one: {_first_line(error)}")
        self.close()
        return None


def _put_back(optimizer: torch.optim.Optimizer, memory: dict[Tensor, dict[str, object]]) -> None:
    """Let an optimizer remember what it did: what a failed recording made was never computed."""
    optimizer.state.clear()
    optimizer.state.update(memory)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
