"""One optimizer step, of a batch whole or in parts."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from tracker.training.splits import DeviceSplit
from tracker.vision.augmentation import EpochPlan
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.models import Classifier


def take_step(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    split: DeviceSplit,
    batch: EpochPlan,
    pipeline: InputPipeline,
    micro_batches: int,
    loss_sum: Tensor,
    correct: Tensor,
) -> None:
    """Train on the images that `batch` names.

    Args:
        micro_batches: how many parts they go through the network in, one after the other.
        loss_sum: float64, (), to which their losses are added.
        correct: int64, (), to which the number classified correctly is added.
    """
    optimizer.zero_grad(set_to_none=True)
    for first, size in parts(len(batch), micro_batches):
        part = batch.batch(first, size)
        labels = split.labels[part.order]  # (B,)
        logits = classifier.network(pipeline(split.images, part))  # (B, K)
        loss = F.cross_entropy(logits, labels)
        # The gradients of the parts add up to that of the whole batch's mean.
        share = loss if size == len(batch) else loss * (size / len(batch))
        share.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach() * size
        correct += (logits.detach().argmax(dim=1) == labels).sum()
    optimizer.step()


def parts(count: int, micro_batches: int) -> Iterator[tuple[int, int]]:
    """Yield first place and size of each part of a batch of `count`; sizes differ by 1 at most.

    There are fewer than `micro_batches` where parts would be of one image: BatchNorm refuses them.
    """
    number = max(1, min(micro_batches, count // 2))
    for index in range(number):
        first = index * count // number
        yield first, (index + 1) * count // number - first


@contextmanager
def letting_go(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """On an error free what the step held on the device: whoever tries again needs the room.

    The error's traceback would keep the activations alive, and the parameters their gradients.
    """
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        optimizer.zero_grad(set_to_none=True)
        raise
