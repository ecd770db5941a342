"""Damaged files, other trials' files and a full disk: never fewer whole states than there were."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam

from tests.training.small_trial import IDENTITY, Trial, equal, names
from tracker.study import faults
from tracker.study.errors import DiskFull
from tracker.training.statefile import encode_best
from tracker.training.store import StateStore


def truncate(path: Path) -> None:
    """Cut a file in half, as a full disk or a broken copy does."""
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    """Alter one byte of the tensors."""
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    """Leave nothing, as a power cut on some file systems does."""
    path.write_bytes(b"")


def hold_no_tensors(path: Path) -> None:
    """Hold another text, under the right hash."""
    text = b"no safetensors file"
    path.with_name(f"{path.stem.rpartition('-')[0]}-{hashlib.sha256(text).hexdigest()[:16]}.safetensors").write_bytes(
        text
    )
    path.unlink()


def hold_weights_alone(path: Path) -> None:
    """Be a whole file of another format."""
    other = path.with_name("other")
    encode_best({"weights/network.1.weight": torch.zeros(2)}, IDENTITY, 0).write(other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()[:16]
    other.rename(path.with_name(f"{path.stem.rpartition('-')[0]}-{digest}.safetensors"))
    path.unlink()


def be_a_folder(path: Path) -> None:
    """Be something that cannot be read."""
    path.unlink()
    path.mkdir()


DAMAGES = {
    truncate: "it is truncated or altered",
    flip_a_byte: "it is truncated or altered",
    empty: "it is empty",
    hold_no_tensors: "it is no safetensors file",
    hold_weights_alone: "it holds 'tracker best weights 1', not 'tracker training state 1'",
    be_a_folder: "it cannot be read (Is a directory)",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_gives_way_to_the_one_before_and_then_to_the_start(
    store: StateStore, folder: Path, damage: Callable[[Path], None]
) -> None:
    """Each file passed over is named, with what is wrong; without any, nothing is touched."""
    trial = Trial()
    trial.train(0.9)
    trial.save(store)
    one = trial.tensors()
    trial.train(0.5)
    second = trial.save(store)
    damage(second)
    other = Trial()
    loaded = other.load(StateStore(folder, IDENTITY))
    assert loaded.state is not None
    assert loaded.state.position.epoch == 1
    assert equal(other.tensors(), one)
    assert len(loaded.problems) == 1
    assert str(folder / "state-000002-000000-") in loaded.problems[0]
    assert DAMAGES[damage] in loaded.problems[0]

    assert loaded.file is not None
    damage(loaded.file)
    fresh = Trial()
    before = fresh.tensors()
    nothing = fresh.load(StateStore(folder, IDENTITY))
    assert (nothing.state, nothing.file, len(nothing.problems)) == (None, None, 2)
    assert equal(fresh.tensors(), before)
    assert StateStore(folder, IDENTITY).newest() is None


def test_damaged_best_weights_count_as_a_damaged_state(store: StateStore, folder: Path) -> None:
    """A trial that goes on without its best weights would end without its best checkpoint."""
    trial = Trial()
    for accuracy in (0.5, 0.6):
        trial.train(accuracy)
        path = trial.save(store)
    flip_a_byte(store.files_of(path)[1])
    loaded = Trial().load(store)
    assert loaded.state is not None
    assert loaded.state.position.epoch == 1
    assert "names best-000001-" in loaded.problems[0]
    assert "which is truncated or altered" in loaded.problems[0]
    assert loaded.file is not None
    store.files_of(loaded.file)[1].unlink()
    nothing = Trial().load(store)
    assert nothing.state is None
    assert "which cannot be read (No such file or directory)" in nothing.problems[1]


def test_a_trial_that_started_over_replaces_what_it_passed_over(store: StateStore, folder: Path) -> None:
    """Damaged files of later epochs neither push out the new states nor come back."""
    trial = Trial()
    for _ in range(4):
        trial.train()
        trial.save(store)
    for path in folder.iterdir():
        flip_a_byte(path)
    again = Trial()
    assert again.load(store).state is None
    again.train()
    again.save(store)
    assert names(folder) == ["best-000000", "state-000001-000000"]
    loaded = Trial().load(StateStore(folder, IDENTITY))
    assert loaded.state is not None
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("identity", "built", "problem"),
    [
        ({**IDENTITY, "cell": "x"}, {}, "it is another trial's: its cell is a, not x"),
        (IDENTITY, {"hidden": 6}, "another network: network.1.weight is float32 (5, 16), not float32 (6, 16)"),
        (IDENTITY, {"kind": SGD}, "it was made with the optimizer Adam, not SGD"),
    ],
)
def test_a_state_of_another_trial_is_passed_over(
    store: StateStore, folder: Path, identity: dict[str, str], built: dict[str, Any], problem: str
) -> None:
    """Other identity, other shapes, another optimizer: nothing is taken of it, and it says why."""
    trial = Trial()
    trial.train()
    trial.save(store)
    other = Trial(**built)
    before = other.tensors()
    loaded = other.load(StateStore(folder, identity))
    assert loaded.state is None
    assert problem in loaded.problems[0]
    assert equal(other.tensors(), before)


def test_weights_that_learn_elsewhere_do_not_fit(store: StateStore) -> None:
    """A state of a whole network is none of a head."""
    trial, head = Trial(), Trial()
    trial.train()
    trial.save(store)
    head.classifier.set_trainable("head")
    head.optimizer = Adam(head.classifier.trainable())
    assert "weights of another network: 4 names differ, first network.1.bias" in head.load(store).problems[0]


@pytest.mark.parametrize("point", ["best-written", "state-written"])
def test_a_full_disk_leaves_the_states_before(
    store: StateStore, folder: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names folder, free and needed bytes; when there is room again the same save succeeds."""
    trial = Trial()
    trial.train(0.5)
    trial.save(store)
    trial.train(0.6)
    monkeypatch.setattr(faults, "_reached", Counter())
    monkeypatch.setenv(faults.VARIABLE, f"{point}=disk-full")
    with pytest.raises(DiskFull, match=rf"{folder}: no room for the training state: [\d,]+ bytes free, [\d,]+ needed"):
        trial.save(store)
    assert "state-000001-000000" in names(folder)
    assert not [name for name in names(folder) if name.endswith(".tmp")]
    monkeypatch.delenv(faults.VARIABLE)
    trial.save(store)
    other = Trial()
    assert other.load(store).problems == ()
    assert equal(other.tensors(), trial.tensors())


FULL_DISK = """
import sys
from contextlib import suppress
from pathlib import Path

from tests.training.small_trial import IDENTITY, Trial
from tracker.study.errors import DiskFull
from tracker.training.store import StateStore

store, trial = StateStore(Path(sys.argv[1]), IDENTITY), Trial(hidden=5000)
saved = 0
try:
    while saved < 50:
        trial.train(saved / 100)
        newest = trial.save(store)
        saved += 1
        with suppress(OSError):
            (Path(sys.argv[1]) / f"other-{saved}").write_bytes(b"x" * 500_000)
except DiskFull:
    loaded = Trial(hidden=5000).load(StateStore(Path(sys.argv[1]), IDENTITY))
    assert loaded.file == newest, (loaded.problems, newest)
    assert not list(Path(sys.argv[1]).glob(".*"))
    print("full after", saved)
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of 8 MB with no room left the newest state is still there and whole."""
    isolated = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=8m none {tmp_path}"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("this system mounts no file system for a test")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        [*isolated, "sh", "-c", script, sys.executable, FULL_DISK],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("full after"), done.stdout
    assert int(done.stdout.split()[-1]) >= 1
