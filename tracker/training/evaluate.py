"""Loss, accuracy and predictions of a classifier over a split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tracker.training.input import build_input
from tracker.training.splits import DeviceSplit
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.models import Classifier

EVALUATION_BATCH = 500


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


@torch.inference_mode()
def evaluate(
    classifier: Classifier,
    split: DeviceSplit,
    batch_size: int = EVALUATION_BATCH,
    pipeline: InputPipeline | None = None,
) -> Evaluation:
    """Judge every image of a split once, unaugmented, the short last batch included.

    Args:
        pipeline: of the network's input; by default the plain one.
    """
    pipeline = pipeline or build_input(classifier, 0, split.images)
    classifier.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    predictions = []
    for first in range(0, len(split), batch_size):
        place = slice(first, first + batch_size)
        logits = classifier.network(pipeline(split.images[place]))  # (B, K)
        loss += F.cross_entropy(logits, split.labels[place], reduction="sum")
        predictions.append(logits.argmax(dim=1))
    predicted = torch.cat(predictions)
    accuracy = (predicted == split.labels).sum().item() / len(split)
    return Evaluation(loss=loss.item() / len(split), accuracy=accuracy, predictions=predicted.cpu())
