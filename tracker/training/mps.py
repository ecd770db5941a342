"""NVIDIA's Multi-Process Service (MPS): with it a GPU runs kernels of several processes at once, without it in turns.

Source: NVIDIA's "Multi-Process Service", on its deployment pages.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

PIPES = "CUDA_MPS_PIPE_DIRECTORY"
"""The environment variable by which CUDA finds the service."""
USUAL_PIPES = "/tmp/nvidia-mps"  # noqa: S108  # CUDA's own
IN_TURNS = (
    "trials that share a GPU take turns on it, for NVIDIA's Multi-Process Service is not running; with it their "
    "kernels run at once: nvidia-cuda-mps-control -d, before the sweep"
)


def serves() -> bool:
    """Return whether the service's daemon listens: a process that begins to use CUDA now takes part by itself.

    Its socket stays behind when it stops, and its process need not be visible from a container, so neither tells.
    A datagram socket cannot connect to it: tried all the same, Linux says whether somebody listens there, and the
    daemon hears nothing of it.
    """
    path = Path(os.environ.get(PIPES) or USUAL_PIPES) / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(str(path))
        except OSError as error:  # a path too long for a socket is none of CUDA's either
            return error.errno == errno.EPROTOTYPE
    return True
