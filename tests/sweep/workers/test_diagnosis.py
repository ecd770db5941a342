"""From an exception to the class that decides what is done about it."""

from __future__ import annotations

import pytest
import torch

from tracker.study.errors import DataDamaged, DeviceError, NotFinite, SourceMissing, TrackerError
from tracker.study.failures import FAILURES, FailureClass
from tracker.sweep.workers.diagnosis import diagnose

CASES: list[tuple[BaseException, FailureClass]] = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory"),
    (MemoryError(), "out-of-memory"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out-of-memory"),
    (RuntimeError("CUDA error: device-side assert triggered"), "device"),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
    (DeviceError("cuda:3 is gone"), "device"),
    (NotFinite("train_loss is nan in epoch 3"), "not-finite"),
    (DataDamaged("cifar10/images.npy: checksum differs"), "missing-data"),
    (SourceMissing("resnet18: no weights"), "missing-data"),
    (RuntimeError("shapes do not match"), "exception"),
    (ValueError("ECC"), "exception"),
    (TrackerError("something else"), "exception"),
]


@pytest.mark.parametrize(("error", "failure_class"), CASES, ids=lambda value: str(value)[:40])
def test_every_failure_has_its_class(error: BaseException, failure_class: FailureClass) -> None:
    """torch says it in exceptions of its own, or in the words of its libraries."""
    assert diagnose(error).failure_class == failure_class


def test_every_class_but_the_lost_worker_comes_from_an_exception() -> None:
    """A worker that is lost raises nothing any more."""
    assert {failure_class for _, failure_class in CASES} == set(FAILURES) - {"lost-worker"}


def test_a_real_allocation_that_cannot_be_is_out_of_memory() -> None:
    """torch's own allocator is asked for a petabyte."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert diagnose(caught.value).failure_class == "out-of-memory"


def test_the_message_is_one_line() -> None:
    """An error of many lines fits a table; one without words has its name."""
    assert diagnose(RuntimeError("first\nsecond")).message == "first"
    assert diagnose(KeyError()).message == "KeyError"
    assert len(diagnose(RuntimeError("x" * 9000)).message) == 500
