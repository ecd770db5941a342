"""Several trials on one device at once: what they give together, each in a process of its own.

The trials start together and each trains whole epochs, with evaluation, until it has trained long enough. One that
has goes on all the same, uncounted, until the others have too: every epoch that counts had full company.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tracker.bench.subject import EVALUATED, SEED, Shape, bare, random_images, train
from tracker.study.errors import TrainingError
from tracker.study.recipe import Recipe
from tracker.training.device import is_out_of_memory, threads_of
from tracker.training.execution import Execution

BATCHES = {"cpu": 2, "cuda": 20}
REHEARSALS = {"cpu": 1, "cuda": 5}
"""Epochs that do not count: caches get warm, kernels are chosen, and on a GPU graphs recorded."""
PATIENCE_SECONDS = 900.0
"""How long a trial may say nothing: it builds its network, or trains an epoch. One that is silent longer hangs."""


@dataclass(frozen=True)
class Company:
    """What several trials on one device did together.

    Args:
        trials: how many.
        threads: of the CPU, each.
        rates: training images a second, of each trial, evaluation between its epochs included; empty where
            they do not fit.
        peak_bytes: of the one that took most: on CUDA what torch held of the device, on a CPU the resident memory
            of its process, Python and torch included. None where they do not fit.
        reason: why they do not fit; None where they do.
        told: what they said of how they were trained: `carried_out`.
    """

    trials: int
    threads: int
    rates: tuple[float, ...]
    peak_bytes: int | None
    reason: str | None = None
    told: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether memory was large enough for all of them."""
        return self.reason is None

    @property
    def rate(self) -> float:
        """Training images a second, in total; 0 where they do not fit."""
        return sum(self.rates)


@dataclass(frozen=True)
class _Work:
    """What a trial's process is given."""

    recipe: Recipe
    shape: Shape
    device: str
    execution: Execution
    threads: int
    seconds: float


@dataclass(frozen=True)
class _Done:
    """So many images in so many seconds."""

    images: int
    seconds: float
    peak_bytes: int
    told: tuple[str, ...]


@dataclass(frozen=True)
class _Failed:
    """Why a trial ended early, and whether for want of memory."""

    reason: str
    unfit: bool


@dataclass(frozen=True)
class _Ready:
    """Its rehearsals are done; what counts begins when the parent says so."""

    peak_bytes: int


_Word = _Ready | _Done | _Failed
_GO = "go"


def side_by_side(
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
    execution: Execution,
    *,
    trials: int,
    threads: int | None = None,
    batches: int | None = None,
    seconds: float = 2.0,
) -> Company:
    """Train so many trials of a recipe side by side on a device, and return what they give together.

    Args:
        recipe: its model, batch, optimizer, precision, normalization and what it tunes count; weights and pixels are
            random.
        shape: of the images; how many a dataset has does not count.
        execution: that the recipe's network was found to work with: `tracker.training.selfcheck`.
        threads: of the CPU, for each trial; by default its share of the cores.
        batches: that an epoch has, by default those of `BATCHES`; test images are a fifth of its images.
        seconds: that each trial is measured for at least, and then to the end of its epoch.

    Raises:
        TrainingError: a trial failed for another reason than memory, or hangs.
    """
    work = _work(recipe, shape, device, execution, threads or threads_of(trials), batches, seconds)
    with _crew(work, trials) as crew:
        told: list[_Word] | _Failed = _words(crew)
        if not isinstance(told, _Failed):
            for member in crew:
                member.let_go()
            told = _words(crew)
    if isinstance(told, _Failed):
        return Company(trials, work.threads, (), None, _unfit(told))
    done = [word for word in told if isinstance(word, _Done)]
    rates = tuple(each.images / each.seconds for each in done)
    said = dict.fromkeys(text for each in done for text in each.told)
    return Company(trials, work.threads, rates, max(each.peak_bytes for each in done), told=tuple(said))


def memory_of(
    recipe: Recipe, shape: Shape, device: torch.device, execution: Execution, *, batches: int | None = None
) -> int | None:
    """Return the memory that a trial takes at its highest, alone on its device: `Company.peak_bytes`.

    Args:
        recipe, shape, execution, batches: as of `side_by_side`.

    Raises:
        TrainingError: the trial failed for another reason than memory, or hangs.
    """
    with _crew(_work(recipe, shape, device, execution, threads_of(1), batches, 0.0), 1) as crew:
        told = _words(crew)
    if isinstance(told, _Failed):
        _unfit(told)
        return None
    return max(word.peak_bytes for word in told if isinstance(word, _Ready))


def _work(
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
    execution: Execution,
    threads: int,
    batches: int | None,
    seconds: float,
) -> _Work:
    train = (batches or BATCHES[device.type]) * recipe.batch_size
    images = replace(shape, train=train, test=max(1, train // EVALUATED))
    return _Work(bare(recipe), images, str(device), execution, threads, seconds)


@contextmanager
def _crew(work: _Work, trials: int) -> Iterator[list[_Member]]:
    """Start so many processes, and see that none is left."""
    context = multiprocessing.get_context("forkserver")  # a process with threads, and maybe CUDA, is not to be forked
    context.set_forkserver_preload([__name__])
    crew: list[_Member] = []
    try:
        for _ in range(trials):
            here, there = context.Pipe()
            process = context.Process(target=train_in_company, args=(work, there), daemon=True)
            process.start()
            there.close()  # so that the pipe ends when the trial does
            crew.append(_Member(process, here))
        yield crew
    finally:
        for member in crew:
            member.end()


@dataclass(frozen=True)
class _Member:
    """A trial's process, seen from outside."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection

    def hear(self) -> _Word:
        """Return what the trial says next, or how its process ended."""
        try:
            word: _Word = self.pipe.recv()
            return word
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            if code == -signal.SIGKILL:
                return _Failed("its process was killed, as Linux does when memory runs out", unfit=True)
            return _Failed(f"its process ended with exit code {code}", unfit=False)

    def let_go(self) -> None:
        """Have the trial begin what counts."""
        with suppress(OSError):  # it is gone; what it said last is still to be heard
            self.pipe.send(_GO)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _words(crew: list[_Member]) -> list[_Word] | _Failed:
    """Return one word of each; or the first failure, as soon as there is one."""
    words: list[_Word] = []
    waiting = list(crew)
    while waiting:
        heard = multiprocessing.connection.wait([member.pipe for member in waiting], PATIENCE_SECONDS)
        if not heard:
            raise TrainingError(f"a trial in company has said nothing for {PATIENCE_SECONDS:.0f} s")
        for member in [each for each in waiting if each.pipe in heard]:
            word = member.hear()
            if isinstance(word, _Failed):
                return word
            words.append(word)
            waiting.remove(member)
    return words


def _unfit(failed: _Failed) -> str:
    """Return why trials do not fit.

    Raises:
        TrainingError: that was not it.
    """
    if not failed.unfit:
        raise TrainingError(f"a trial in company failed: {failed.reason}")
    return failed.reason


def train_in_company(work: _Work, pipe: Connection) -> None:
    """Train one of several trials, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this one
    try:
        _train(work, pipe)
    except (EOFError, BrokenPipeError):
        pass  # nobody listens any more
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        pipe.send(_Failed(f"{type(error).__name__}: {first}"[:500], is_out_of_memory(error)))


def _train(work: _Work, pipe: Connection) -> None:
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
                pipe.send(_Ready(_peak_bytes(device)))
                pipe.recv()
                begun = time.perf_counter()
            continue
        trained += len(images.train)
        seconds = time.perf_counter() - begun
        if pipe.poll():  # the parent says nothing more: it is gone
            return
        if not told and seconds >= work.seconds:
            told = True
            pipe.send(_Done(trained, seconds, _peak_bytes(device), tuple(said)))


def _peak_bytes(device: torch.device) -> int:
    """Return what this process has held at most: of the device, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not tell VmHWM")
