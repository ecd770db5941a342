"""States are written beside training: it waits for a slow disk, but not for each write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from tests.training.small_trial import IDENTITY, Trial
from tracker.sweep.workers import durable
from tracker.sweep.workers.disk import DiskGuard
from tracker.sweep.workers.durable import DurableState, Keeping
from tracker.training.store import StateStore

Written = TypeVar("Written")


class SlowGuard(DiskGuard):
    """A disk whose first write takes until a test lets it go.

    Attributes:
        writes: begun so far.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 0, stop=lambda: False, tell=lambda reason: None)
        self.writes = 0
        self.go = threading.Event()

    def write(self, size: int, save: Callable[[], Written]) -> Written:
        """Wait, then write."""
        self.writes += 1
        assert self.go.wait(30)
        return super().write(size, save)


@pytest.fixture
def guard(tmp_path: Path) -> SlowGuard:
    return SlowGuard(tmp_path)


def keep_in(trial: Trial, guard: SlowGuard, folder: Path, ensure: Callable[[], None] = lambda: None) -> DurableState:
    """Return what keeps a trial's state in a folder."""
    keeping = Keeping(folder, ensure, guard, None, 600, say=lambda text: None)
    kept = DurableState(keeping, IDENTITY, 1, None, trial.classifier, trial.optimizer)
    kept.state = trial.state
    return kept


def test_epochs_that_end_during_a_write_share_the_next_one(guard: SlowGuard, tmp_path: Path) -> None:
    """Training does not wait; each is told of in its turn, once its own numbers are on the disk."""
    trial, told = Trial(), list[tuple[int, int]]()

    def then(epoch: int) -> None:
        found = StateStore(tmp_path, IDENTITY).load(Trial().classifier, Trial().optimizer).state
        assert found is not None
        told.append((epoch, found.position.epoch - 1))

    with keep_in(trial, guard, tmp_path) as kept:
        for epoch in range(4):
            trial.train()
            kept.keep(lambda epoch=epoch: then(epoch))  # type: ignore[misc]
        assert told == []
        guard.go.set()
        kept.settle()
        assert told == [(0, 0), (1, 3), (2, 3), (3, 3)]
        assert guard.writes == 2


def test_training_waits_for_a_write_that_takes_too_long(
    guard: SlowGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would else be noticed when there is much to lose: with no time allowed each write is waited for."""
    monkeypatch.setattr(durable, "AHEAD_SECONDS", 0.0)
    trial, told = Trial(), list[int]()
    with keep_in(trial, guard, tmp_path) as kept:
        trial.train()
        kept.keep(lambda: told.append(0))
        threading.Timer(0.2, guard.go.set).start()
        trial.train()
        kept.keep(lambda: told.append(1))
        assert told[0] == 0
        kept.settle()
    assert told == [0, 1]


def test_what_went_wrong_with_a_write_is_raised_in_training(guard: SlowGuard, tmp_path: Path) -> None:
    """At the next epoch that finds it, or at the end; what was to be told after it is not."""
    trial, told = Trial(), list[int]()

    def lost() -> None:
        raise RuntimeError("the cell is another worker's")

    with keep_in(trial, guard, tmp_path, ensure=lost) as kept:
        trial.train()
        kept.keep(lambda: told.append(0))
        with pytest.raises(RuntimeError, match="another worker's"):
            kept.settle()
        kept.settle()
    assert (told, guard.writes) == ([], 0)


def test_better_epochs_during_a_write_leave_its_best_weights_alone(guard: SlowGuard, tmp_path: Path) -> None:
    """What is written first is the best epoch as it was then, though two better ones have ended since."""
    trial, written = Trial(), list[dict[str, torch.Tensor]]()

    def then() -> None:
        state = StateStore(tmp_path, IDENTITY).load(Trial().classifier, Trial().optimizer).state
        assert state is not None
        written.append(state.best)

    wanted = []
    with keep_in(trial, guard, tmp_path) as kept:
        for accuracy in (0.5, 0.6, 0.7):
            trial.train(accuracy)
            wanted.append({name: tensor.clone() for name, tensor in trial.state.best.items()})
            kept.keep(then if accuracy != 0.6 else lambda: None)
        guard.go.set()
        kept.settle()
    for found, expected in zip(written, (wanted[0], wanted[2]), strict=True):
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert not all(torch.equal(wanted[0][name], tensor) for name, tensor in wanted[2].items())
