"""From bytes on the device to the network's input, a batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.training.execution import CHANNELS_LAST, FUSED_INPUT, PLAIN, Execution
from tracker.vision.kernels.pipeline import InputPipeline, Setting, build_input_pipeline
from tracker.vision.models import Classifier


def build_input(
    classifier: Classifier, crop_padding: int, images: Tensor, execution: Execution = PLAIN
) -> InputPipeline:
    """Build a classifier's input pipeline as an execution says.

    Args:
        classifier: on its device; the statistics of its normalization are taken now.
        crop_padding: pixels of black padding before a random crop; 0: no crop.
        images: uint8, (N, 1 or C, H, W), some that it will be given, for their shape and device.
    """
    layout = torch.channels_last if CHANNELS_LAST in execution else torch.contiguous_format
    setting = Setting(classifier.normalization, classifier.channels, crop_padding, layout)
    return build_input_pipeline(setting, images, way=None if FUSED_INPUT in execution else "plain")
