"""States on disk: all that was saved comes back, the newest first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.optim import SGD, Adam, Optimizer

from tests.training.small_trial import IDENTITY, Trial, equal, names
from tracker.training.statefile import HEADER_BYTES
from tracker.training.store import Loaded, StateStore


def test_nothing_is_found_where_nothing_was_saved(store: StateStore) -> None:
    """A trial that begins has no folder, and that is no problem."""
    assert Trial().load(store) == Loaded(None, None, ())
    assert store.newest() is None
    store.clear()


@pytest.mark.parametrize("kind", [Adam, lambda weights, lr: SGD(weights, lr, momentum=0.9)])
def test_a_write_needs_no_more_than_it_says(store: StateStore, kind: Callable[..., Optimizer]) -> None:
    """And not much less either."""
    trial = Trial(hidden=20_000, kind=kind)
    trial.train()
    trial.state.predictions["selected"] = torch.zeros(100_000, dtype=torch.int64)
    captured = store.capture(trial.state, trial.classifier, trial.optimizer)
    written = sum(path.stat().st_size for path in store.files_of(store.write(captured)))
    assert written <= captured.nbytes < written + HEADER_BYTES


def test_what_was_captured_is_what_is_written(folder: Path) -> None:
    """Training that goes on meanwhile changes nothing of it."""
    trial = Trial()
    trial.train()
    now, later = StateStore(folder / "now", IDENTITY), StateStore(folder / "later", IDENTITY)
    expected = now.save(trial.state, trial.classifier, trial.optimizer)
    captured = later.capture(trial.state, trial.classifier, trial.optimizer)
    trial.train()
    path = later.write(captured)
    with safe_open(path, framework="pt") as written, safe_open(expected, framework="pt") as wanted:
        positions = [json.loads(file.metadata()["facts"])["position"] for file in (written, wanted)]
        assert positions[0] == positions[1]
        names_of = sorted(wanted.keys())
        assert sorted(written.keys()) == names_of
        assert all(torch.equal(written.get_tensor(name), wanted.get_tensor(name)) for name in names_of)


def test_a_cleared_store_is_empty_and_can_be_used_again(store: StateStore, folder: Path) -> None:
    """The folder goes, with whatever is in it."""
    trial = Trial()
    trial.train()
    trial.save(store)
    (folder / "other").mkdir()
    store.clear()
    assert not folder.exists()
    assert store.newest() is None
    trial.save(store)
    assert names(folder) == ["best-000000", "state-000001-000000"]


def test_an_epoch_that_was_not_added_is_not_saved(store: StateStore, folder: Path) -> None:
    """A history with a hole would be logged with one."""
    trial = Trial()
    trial.state.position.advance(trial.state.position.selection)
    with pytest.raises(ValueError, match="the history has 0 epochs, the position 1"):
        trial.save(store)
    assert not folder.exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_state_made_on_one_device_is_restored_on_another(store: StateStore) -> None:
    """What a CUDA trial saved goes on there or on the CPU, each tensor on its own device."""
    device = torch.device("cuda", 0)
    trial = Trial()
    trial.classifier.to(device)
    trial.optimizer = Adam(trial.classifier.parameters(), lr=0.1)
    images = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8, device=device)
    trial.classifier.train()(images).square().sum().backward()
    trial.optimizer.step()
    trial.state.position.halt(1, loss_sum=1.0, correct=1, seconds=1.0, device=device)
    trial.save(store)
    for where in (device, torch.device("cpu")):
        other = Trial()
        other.classifier.to(where)
        other.optimizer = Adam(other.classifier.parameters(), lr=0.1)
        assert other.load(store).problems == ()
        assert {weight.device for weight in other.classifier.parameters()} == {where}
        assert equal({k: v.cpu() for k, v in other.tensors().items()}, {k: v.cpu() for k, v in trial.tensors().items()})
        torch.random.manual_seed(0)
        other.state.position.seed(1, where)
        assert torch.equal(torch.get_rng_state(), trial.state.position.random["cpu"])
