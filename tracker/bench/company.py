"""Several trials on one device at once: what they give together, each in a process of its own.

The trials start together and each trains whole epochs, with evaluation, until it has trained long enough. One that
has goes on all the same, uncounted, until the others have too: every epoch that counts had full company.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch

from tracker.bench import companion
from tracker.bench.companion import GO, Done, Failed, Ready, Word, Work, train_in_company
from tracker.bench.subject import EVALUATED, bare
from tracker.study.errors import TrainingError
from tracker.study.recipe import Recipe
from tracker.training.device import give_back_memory, threads_of
from tracker.training.execution import Execution
from tracker.vision.stand_ins import Shape

BATCHES = {"cpu": 2, "cuda": 20}
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
        told: list[Word] | Failed = _words(crew)
        if not isinstance(told, Failed):
            for member in crew:
                member.let_go()
            told = _words(crew)
    if isinstance(told, Failed):
        return Company(trials, work.threads, (), None, _unfit(told))
    done = [word for word in told if isinstance(word, Done)]
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
    if isinstance(told, Failed):
        _unfit(told)
        return None
    return max(word.peak_bytes for word in told if isinstance(word, Ready))


def _work(
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
    execution: Execution,
    threads: int,
    batches: int | None,
    seconds: float,
) -> Work:
    train = (batches or BATCHES[device.type]) * recipe.batch_size
    images = replace(shape, train=train, test=max(1, train // EVALUATED))
    return Work(bare(recipe), images, str(device), execution, threads, seconds)


@contextmanager
def _crew(work: Work, trials: int) -> Iterator[list[_Member]]:
    """Start so many processes, and see that none is left."""
    give_back_memory(torch.device(work.device))
    context = multiprocessing.get_context("forkserver")  # a process with threads, and maybe CUDA, is not to be forked
    context.set_forkserver_preload([companion.__name__])
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

    def hear(self) -> Word:
        """Return what the trial says next, or how its process ended."""
        try:
            word: Word = self.pipe.recv()
            return word
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            if code == -signal.SIGKILL:
                return Failed("its process was killed, as Linux does when memory runs out", unfit=True)
            return Failed(f"its process ended with exit code {code}", unfit=False)

    def let_go(self) -> None:
        """Have the trial begin what counts."""
        with suppress(OSError):  # it is gone; what it said last is still to be heard
            self.pipe.send(GO)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _words(crew: list[_Member]) -> list[Word] | Failed:
    """Return one word of each; or the first failure, as soon as there is one."""
    words: list[Word] = []
    waiting = list(crew)
    while waiting:
        heard = multiprocessing.connection.wait([member.pipe for member in waiting], PATIENCE_SECONDS)
        if not heard:
            raise TrainingError(f"a trial in company has said nothing for {PATIENCE_SECONDS:.0f} s")
        for member in [each for each in waiting if each.pipe in heard]:
            word = member.hear()
            if isinstance(word, Failed):
                return word
            words.append(word)
            waiting.remove(member)
    return words


def _unfit(failed: Failed) -> str:
    """Return why trials do not fit.

    Raises:
        TrainingError: that was not it.
    """
    if not failed.unfit:
        raise TrainingError(f"a trial in company failed: {failed.reason}")
    return failed.reason
