"""How many images are judged at once."""

from __future__ import annotations

import pytest
import torch

from tests.training.small_network import small_network
from tracker.training.evaluate import evaluation_batch
from tracker.training.input import build_input
from tracker.training.splits import DeviceSplit
from tracker.training.stepper import PlainStepper
from tracker.training.tally import Tally


def test_a_gpu_judges_more_images_at_once_unless_its_memory_is_small() -> None:
    """On a CPU always the same number, so that nothing changes the order in which losses are summed up."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [evaluation_batch(cpu, parts) for parts in (1, 2, 64)] == [500] * 3
    assert [evaluation_batch(gpu, parts) for parts in (1, 4, 64, 10_000)] == [2_000, 500, 31, 1]


def judged_at_once(device: torch.device, micro_batches: int) -> list[int]:
    """Judge 2,500 images on a device as a trial does; return how many went through the network together."""
    classifier = small_network().to(device)
    split = DeviceSplit(
        torch.zeros((2_500, 1, 8, 8), dtype=torch.uint8, device=device),
        torch.zeros(2_500, dtype=torch.int64, device=device),
    )
    sizes: list[int] = []
    classifier.head.register_forward_hook(lambda head, args, out: sizes.append(len(out)))
    optimizer, pipeline = torch.optim.SGD(classifier.parameters(), lr=0.1), build_input(classifier, 0, split.images)
    PlainStepper(classifier, optimizer, pipeline, micro_batches, Tally(device)).evaluate(split)
    return sizes


def test_a_cpu_judges_in_batches_of_500() -> None:
    """Trained in parts or not."""
    assert [judged_at_once(torch.device("cpu"), parts) for parts in (1, 4)] == [[500] * 5] * 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_that_trains_in_parts_judges_in_smaller_batches() -> None:
    """A card whose memory is too small for a batch of training may be too small for 2,000 images as well."""
    device = torch.device("cuda", 0)
    assert judged_at_once(device, 1) == [2_000, 500]
    assert judged_at_once(device, 4) == [500] * 5
