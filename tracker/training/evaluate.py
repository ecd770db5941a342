"""Loss, accuracy and predictions of a classifier over a split."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tracker.training.input import build_input
from tracker.training.splits import DeviceSplit
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.models import Classifier

EVALUATION_BATCH = 500
CUDA_EVALUATION_BATCH = 2_000
"""On a GPU: 500 small images leave a large one idle."""


@dataclass(frozen=True)
class Evaluation:
    """What a classifier makes of a split.

    Args:
        loss: mean cross-entropy, nats.
        accuracy: a fraction.
        predictions: int64, (N,), on the CPU: the class of the largest logit.
    """

    loss: float
    accuracy: float
    predictions: Tensor


def evaluation_batch(device: torch.device, micro_batches: int = 1) -> int:
    """Return how many images are judged at once.

    Args:
        micro_batches: parts that training splits its batches into: a GPU's memory was too small for whole ones.
    """
    return EVALUATION_BATCH if device.type == "cpu" else max(1, CUDA_EVALUATION_BATCH // micro_batches)


@torch.inference_mode()
def evaluate(
    classifier: Classifier,
    split: DeviceSplit,
    batch_size: int | None = None,
    pipeline: InputPipeline | None = None,
) -> Evaluation:
    """Judge every image of a split once, unaugmented, the short last batch included.

    Args:
        batch_size: by default what `evaluation_batch` says.
        pipeline: of the network's input; by default the plain one.
    """
    batch_size = batch_size or evaluation_batch(split.labels.device)
    pipeline = pipeline or build_input(classifier, 0, split.images)
    classifier.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    predictions = []
    with closing(split.in_order(batch_size)) as parts:
        for part in parts:
            logits = classifier.network(pipeline(part.images))  # (B, K)
            loss += F.cross_entropy(logits, part.labels, reduction="sum")
            predictions.append(logits.argmax(dim=1))
    return concluded(loss, torch.cat(predictions), split.labels)


def concluded(loss_sum: Tensor, predicted: Tensor, labels: Tensor) -> Evaluation:
    """Wait for the device, and return what was made of a split.

    Args:
        loss_sum: float64, (), of all images.
        predicted, labels: int64, (N,).
    """
    right = (predicted == labels).sum()
    loss, correct = torch.stack([loss_sum, right.double()]).tolist()
    return Evaluation(loss=loss / len(labels), accuracy=correct / len(labels), predictions=predicted.cpu())
