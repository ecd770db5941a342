"""Work on fixed tensors, recorded once and replayed: on CUDA a graph, which the host starts with one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from tracker.training.execution import CUDA_GRAPH, Execution
from tracker.training.streams import new_stream

Work = Callable[[], None]
"""Reads and writes the same tensors at each call, and nothing of what it does depends on their values."""


class Recorder(Protocol):
    """Makes of a piece of work something that does it again."""

    def rehearse(self, work: Work) -> None:
        """Do the work, so that what libraries make at its first calls is there when it is recorded."""
        ...

    def record(self, work: Work) -> Work:
        """Return what does the work, which was rehearsed; it is not done now.

        Raises:
            Exception: it cannot be recorded; no tensor has changed.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs, all in one pool of memory: they never run at once, and leave nothing there for each other.

    Work is rehearsed and recorded on a stream of its own, as autograd's nodes remember theirs, and the default
    stream cannot be recorded. Replays go to the current stream.

    Source: "CUDA Graphs" in torch's CUDA semantics.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = new_stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Work) -> None:
        """Do the work on the recorder's stream, in its place among what the current one does."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """Return the replay of the work's graph, which lives as long as it.

        Only this thread's calls can spoil the recording: one that writes a state, or fetches the next images, goes
        on meanwhile.
        """
        graph = torch.cuda.CUDAGraph()
        reason: Exception | None = None
        with self._streams_put_back():
            try:
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    try:
                        work()
                    except Exception as error:
                        reason = error
                        raise
            except Exception:
                if reason is None:
                    raise
                raise reason from None  # the end of a spoiled recording fails too, and says less
            finally:
                reason = None  # its traceback holds this frame, and the frame the tensors of the step
        return graph.replay

    @contextmanager
    def _streams_put_back(self) -> Iterator[None]:
        """Let the current stream and device be what they were.

        Where a recording cannot begin, or before torch 2.15 cannot end, torch leaves its stream the current one.
        """
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            try:
                yield
            finally:
                torch.cuda.set_stream(current)


def recorder_of(execution: Execution, device: torch.device) -> Recorder | None:
    """Return what an execution's steps are recorded with; None where they are not."""
    return CudaRecorder(device) if CUDA_GRAPH in execution and device.type == "cuda" else None
