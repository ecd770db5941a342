"""What went wrong with an attempt: from an exception to the class that decides what is done about it."""

from __future__ import annotations

import re

from tracker.study.errors import DataError, DeviceError, NotFinite, SourceError, TrackerError
from tracker.study.failures import Failure, FailureClass
from tracker.training.device import is_out_of_memory

DEVICE_FAILED = re.compile(
    r"CUDA error|CUDA driver|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS|NCCL error|device-side assert|ECC|Xid",
)
"""After one of these the process's CUDA context cannot be trusted any more."""


def diagnose(error: BaseException) -> Failure:
    """Class an exception that ended an attempt."""
    return Failure(_failure_class(error), type(error).__name__, first_line(error))


def _failure_class(error: BaseException) -> FailureClass:
    text = str(error)
    if is_out_of_memory(error):
        return "out-of-memory"
    if isinstance(error, DeviceError) or (isinstance(error, RuntimeError) and DEVICE_FAILED.search(text)):
        return "device"
    if isinstance(error, NotFinite):
        return "not-finite"
    if isinstance(error, (DataError, SourceError)):
        return "missing-data"
    return "exception"


def first_line(error: BaseException) -> str:
    """Return an error in one line of at most 500 characters."""
    text = error.message if isinstance(error, TrackerError) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:500]
