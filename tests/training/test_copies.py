"""Copies of what trains: whole, of their own, and on a GPU taken while it goes on."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from tracker.training.copies import copied, fetched


def various(device: torch.device) -> dict[str, Tensor]:
    """Return tensors of several types, shapes and memory formats."""
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn((4, 3, 3, 3), generator=generator)
    found = {
        "kernels": kernels.to(memory_format=torch.channels_last),
        "counter": torch.tensor(7),
        "bias": torch.randn(4, generator=generator),
        "step": torch.tensor(3.0),
        "none": torch.zeros((0, 2)),
        "flags": torch.tensor([True, False, True]),
        "more": torch.randn((2, 5), generator=generator).t(),
    }
    return {name: tensor.to(device) for name, tensor in found.items()}


@pytest.mark.parametrize("way", [copied, fetched])
def test_copies_are_equal_contiguous_and_apart(way: type[copied]) -> None:  # type: ignore[valid-type]
    """One by one or gathered by type: the same numbers, which later changes of the originals do not reach."""
    tensors = various(torch.device("cpu"))
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    copies, wait = way(tensors)  # type: ignore[misc]
    for tensor in tensors.values():
        tensor.zero_()
    wait()
    assert copies.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(copies[name], tensor) and copies[name].is_contiguous(), name
        assert (copies[name].shape, copies[name].dtype) == (tensor.shape, tensor.dtype), name


def test_buffers_are_used_again() -> None:
    """As long as they fit."""
    tensors, buffers = various(torch.device("cpu")), dict[str, Tensor]()
    first = copied(tensors, buffers).tensors
    tensors["bias"] = torch.ones(9)
    second = copied(tensors, buffers).tensors
    assert [name for name in tensors if second[name] is not first[name]] == ["bias"]
    assert torch.equal(second["bias"], torch.ones(9)) and buffers.keys() == tensors.keys()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_from_a_gpu_are_of_the_moment_they_were_asked_for() -> None:
    """What trains goes on at once and changes the originals; the copies are waited for by who reads them."""
    device = torch.device("cuda", 0)
    tensors = {"weights": torch.ones(50_000_000, device=device), **various(device)}
    expected = {name: tensor.cpu() for name, tensor in tensors.items()}
    for _ in range(3):
        begun = time.perf_counter()
        copies, wait = copied(tensors)
        asked = time.perf_counter() - begun
        for tensor in tensors.values():
            tensor.zero_()
        wait()
        took = time.perf_counter() - begun
        assert all(torch.equal(copies[name], tensor) for name, tensor in expected.items())
        for name, tensor in tensors.items():
            tensor.copy_(expected[name])
    assert asked < took / 2, "the host waited for the copy"
