"""One of several trials on one device: trained in a process of its own, at the word of the one that started it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tracker.bench.subject import SEED, train
from tracker.study.recipe import Recipe
from tracker.training.device import is_out_of_memory
from tracker.training.execution import Execution
from tracker.vision.stand_ins import Shape, random_images

REHEARSALS = {"cpu": 1, "cuda": 5}
"""Epochs that do not count: caches get warm, kernels are chosen, and on a GPU graphs recorded."""


@dataclass(frozen=True)
class Work:
    """What a trial's process is given."""

    recipe: Recipe
    shape: Shape
    device: str
    execution: Execution
    threads: int
    seconds: float


@dataclass(frozen=True)
class Done:
    """So many images in so many seconds."""

    images: int
    seconds: float
    peak_bytes: int
    told: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """Why a trial ended early, and whether for want of memory."""

    reason: str
    unfit: bool


@dataclass(frozen=True)
class Ready:
    """Its rehearsals are done; what counts begins when the parent says so."""

    peak_bytes: int


Word = Ready | Done | Failed
GO = "go"


def train_in_company(work: Work, pipe: Connection) -> None:
    """Train one of several trials, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this one
    try:
        _train(work, pipe)
    except (EOFError, BrokenPipeError):
        pass  # nobody listens any more
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        pipe.send(Failed(f"{type(error).__name__}: {first}"[:500], is_out_of_memory(error)))


def _train(work: Work, pipe: Connection) -> None:
    torch.set_num_threads(work.threads)
    device = torch.device(work.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    recipe = work.recipe
    images = random_images(work.shape, SEED, recipe.dataset)
    begun = 0.0
    told = False
    trained = 0
    said: list[str] = []
    for result in train(recipe, images, device, work.execution, said.append):
        if result.epoch < REHEARSALS[device.type]:
            if result.epoch + 1 == REHEARSALS[device.type]:
                pipe.send(Ready(_peak_bytes(device)))
                pipe.recv()
                begun = time.perf_counter()
            continue
        trained += len(images.train)
        seconds = time.perf_counter() - begun
        if pipe.poll():  # the parent says nothing more: it is gone
            return
        if not told and seconds >= work.seconds:
            told = True
            pipe.send(Done(trained, seconds, _peak_bytes(device), tuple(said)))


def _peak_bytes(device: torch.device) -> int:
    """Return what this process has held at most: of the device, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not tell VmHWM")
