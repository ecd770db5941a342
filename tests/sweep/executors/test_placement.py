"""Where workers are put."""

from __future__ import annotations

import pytest
import torch

from tracker.study.errors import DeviceError
from tracker.sweep.executors import placement
from tracker.sweep.executors.placement import Slot, hint, lay_out
from tracker.training import mps
from tracker.training.device import threads_of


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has three GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(placement, "device_place", lambda device: f"host/{device}")


CUDA = torch.device("cuda", 0)


def test_auto_is_one_worker_a_device(three_gpus: None) -> None:
    """Each pinned to its own."""
    assert [slot.device for slot in lay_out(CUDA, "auto", None)] == ["cuda:0", "cuda:1", "cuda:2"]
    assert lay_out(torch.device("cpu"), "auto", None) == [Slot("cpu", 0)]


def test_trials_per_device_fill_the_devices_in_turn(three_gpus: None) -> None:
    """The first of each device come first, so that few cells are spread."""
    slots = lay_out(CUDA, "cuda", None, trials_per_device=2)
    assert [(slot.device, slot.number) for slot in slots] == [
        ("cuda:0", 0), ("cuda:1", 0), ("cuda:2", 0), ("cuda:0", 1), ("cuda:1", 1), ("cuda:2", 1)
    ]  # fmt: skip


def test_a_number_of_workers_is_spread_over_the_devices(three_gpus: None) -> None:
    """Asked for one device by number, all go there."""
    assert [slot.device for slot in lay_out(CUDA, "auto", 4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert [slot.device for slot in lay_out(torch.device("cuda", 2), "cuda:2", 2)] == ["cuda:2", "cuda:2"]


def test_a_device_that_was_set_aside_is_left_out(three_gpus: None) -> None:
    """And without any the error says how to get one back."""
    assert [slot.device for slot in lay_out(CUDA, "auto", None, aside=["host/cuda:1"])] == ["cuda:0", "cuda:2"]
    with pytest.raises(DeviceError, match="set aside"):
        lay_out(CUDA, "auto", None, aside=["host/cuda:0", "host/cuda:1", "host/cuda:2"])


def test_workers_that_share_a_gpu_want_nvidias_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it they take turns; one worker on each GPU, and a CPU's, have no use for it."""
    monkeypatch.setattr(mps, "serves", lambda: False)
    assert hint([Slot("cuda:0", 0), Slot("cuda:1", 0), Slot("cuda:0", 1)]) == mps.IN_TURNS
    assert hint([Slot("cuda:0", 0), Slot("cuda:1", 0)]) is None
    assert hint([Slot("cpu", 0), Slot("cpu", 1)]) is None
    monkeypatch.setattr(mps, "serves", lambda: True)
    assert hint([Slot("cuda:0", 0), Slot("cuda:0", 1)]) is None


def test_cores_are_shared_out() -> None:
    """At least one thread each."""
    assert threads_of(1) >= 1
    assert threads_of(10_000) == 1
