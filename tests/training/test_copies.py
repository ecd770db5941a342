"""Copies of what trains: whole, of their own, and on a GPU taken while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tracker.training.copies import Copier, Copies, Gathering
from tracker.training.statefile import Content


def various(device: torch.device) -> dict[str, Tensor]:
    """Return tensors of several types, shapes and memory formats, one with gaps and one that repeats itself."""
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
        "gaps": torch.randn((5, 6), generator=generator)[:, ::2],
    }
    return {name: tensor.to(device) for name, tensor in found.items()} | {
        "repeated": torch.ones(1, device=device).expand(3)
    }


def of_a_device(tensors: Mapping[str, Tensor]) -> Copies:
    """Copy the CPU's tensors as those of a GPU are copied."""
    return Gathering(tensors).fetch()


def of_the_cpu(tensors: Mapping[str, Tensor]) -> Copies:
    """Copy them as they are copied there."""
    return Copier().copy(tensors)


def assert_equal(copies: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """See that all is there, with its values, shape and type."""
    assert copies.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(copies[name], tensor) and copies[name].dtype == tensor.dtype, name


@pytest.mark.parametrize("way", [of_the_cpu, of_a_device])
def test_copies_are_equal_and_apart(way: Callable[[Mapping[str, Tensor]], Copies]) -> None:
    """One by one or gathered by type: the same numbers, which later changes of the originals do not reach."""
    tensors = various(torch.device("cpu"))
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    copies, wait = way(tensors)
    for name in tensors.keys() - {"repeated"}:
        tensors[name].zero_()
    wait()
    assert_equal(copies, expected)


def test_what_a_device_has_gathered_is_written_whole(tmp_path: Path) -> None:
    """Kernels with their channels together arrive so, which a file knows nothing of."""
    tensors = various(torch.device("cpu"))
    copies, wait = of_a_device(tensors)
    assert not copies["kernels"].is_contiguous() and copies["kernels"].stride() == tensors["kernels"].stride()
    content = Content(copies, {"format": "a test's"}, wait)
    content.write(tmp_path / "file")
    assert_equal(load_file(tmp_path / "file"), tensors)
    assert content.read_back(tmp_path / "file") is not None


def test_buffers_are_used_again() -> None:
    """As long as they fit."""
    tensors, copier = various(torch.device("cpu")), Copier()
    first = copier.copy(tensors).tensors
    tensors["bias"] = torch.ones(9)
    second = copier.copy(tensors).tensors
    assert [name for name in tensors if second[name] is not first[name]] == ["bias"]
    assert torch.equal(second["bias"], torch.ones(9)) and second.keys() == tensors.keys()


@pytest.mark.parametrize("far", [False, True])
def test_a_copy_that_is_to_hold_is_not_overwritten(monkeypatch: pytest.MonkeyPatch, far: bool) -> None:
    """The best weights are written while those of better epochs arrive, however many."""
    if far:
        monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    weight, copier, found = torch.zeros(3), Copier(places=2), list[Tensor]()

    def copy(value: int) -> list[int]:
        weight.fill_(value)
        found.append(copier.copy({"weight": weight}).tensors["weight"])
        return [int(tensor[0]) for tensor in found]

    assert (copy(0), copy(1)) == ([0], [1, 1])
    copier.hold()
    assert (copy(2), copy(3)) == ([1, 1, 2], [1, 1, 3, 3])
    copier.hold()
    copier.hold()
    assert (copy(4), copy(5)) == ([4, 4, 3, 3, 4], [5, 5, 3, 3, 5, 5])


def test_what_was_laid_out_is_for_the_same_tensors_in_the_same_memory() -> None:
    """Another tensor, name or number of them, or memory given to the same one, is laid out anew."""
    tensors = {"weight": torch.nn.Parameter(torch.ones(4, 3, 2, 2)), "bias": torch.zeros(4)}
    gathering = Gathering(tensors)
    assert gathering.is_of(dict(tensors))
    assert not gathering.is_of({**tensors, "bias": torch.zeros(4)})
    assert not gathering.is_of({"weight": tensors["weight"], "offset": tensors["bias"]})
    assert not gathering.is_of({"weight": tensors["weight"]})
    tensors["weight"].data = tensors["weight"].data.to(memory_format=torch.channels_last)
    assert not gathering.is_of(tensors)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_from_a_gpu_are_of_the_moment_they_were_asked_for() -> None:
    """What trains goes on at once and changes the originals; the copies are waited for by who reads them."""
    device, copier = torch.device("cuda", 0), Copier()
    tensors = {"weights": torch.ones(50_000_000, device=device), **various(device)}
    expected = {name: tensor.cpu() for name, tensor in tensors.items()}
    copier.copy(tensors).wait()  # lays out where the others go
    for _ in range(3):
        begun = time.perf_counter()
        copies, wait = copier.copy(tensors)
        asked = time.perf_counter() - begun
        for name in tensors.keys() - {"repeated"}:
            tensors[name].zero_()
        wait()
        took = time.perf_counter() - begun
        assert_equal(copies, expected)
        for name in tensors.keys() - {"repeated"}:
            tensors[name].copy_(expected[name])
    assert asked < took / 2, "the host waited for the copy"
    first, second = copier.copy(tensors), copier.copy({**tensors, "counter": torch.tensor(8, device=device)})
    second.wait()
    assert second.tensors["counter"].item() == 8 and first.tensors.keys() == second.tensors.keys()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_without_room_to_gather_them_tensors_are_copied_one_by_one() -> None:
    """A card that is full of training still gives its state."""
    device = torch.device("cuda", 0)
    tensors = {"weights": torch.ones(50_000_000, device=device), **various(device)}
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6, device)
    try:
        copies, wait = Copier().copy(tensors)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    wait()
    assert_equal(copies, {name: tensor.cpu() for name, tensor in tensors.items()})
