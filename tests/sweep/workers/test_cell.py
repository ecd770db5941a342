"""A cell's shift is logged once, with its first epoch, and its training knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tracker.study.errors import Stopped
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.metrics import SHIFT_METRICS
from tracker.sweep.sources import pretrain, source_job
from tracker.sweep.workers.cell import Attempt, train_cell
from tracker.sweep.workers.disk import DiskGuard
from tracker.sweep.workers.durable import Keeping
from tracker.sweep.workers.workbench import Workbench
from tracker.vision import shift
from tracker.vision.shift import ShiftMeter

STUDY: dict[str, Any] = {
    "name": "shifted",
    "question": "How far is it?",
    "datasets": {
        "low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 16},
        "high": {"kind": "digits", "classes": [7, 8, 9], "image_size": 16},
    },
    "sources": {
        "low": {"dataset": "low", "epochs": 1, "batch_size": 32, "flip": False, "limit_train": 32, "limit_test": 15}
    },
    "recipe": {
        "model": "shufflenet_v2_x0_5", "dataset": "high", "source": "low", "epochs": 2, "batch_size": 16,
        "limit_train": 32, "limit_test": 15, "flip": False,
    },
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2]},
}  # fmt: skip
CELLS = parse_study(STUDY, file="shifted.yaml").cells
MINMAX = CELLS[2]
CPU = torch.device("cpu")
TIMES = ("epoch_seconds", "images_per_second")


class Recorder:
    """A run that keeps every point it is given once, as MLflow does."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, int], set[tuple[int | None, float]]] = {}
        self.tags: dict[str, str] = {}
        self.files: dict[str, bytes] = {}

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: int | None = None) -> None:
        for name, value in metrics.items():
            self.points.setdefault((name, epoch), set()).add((time, value))

    def log_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for epoch, (moment, metrics) in enumerate(history):
            self.log_epoch(epoch, metrics, moment)

    def log_file(self, path: Path, folder: str = "") -> None:
        self.files[path.name] = path.read_bytes()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None:
        pass

    def values(self) -> dict[tuple[str, int], list[float]]:
        """Return what was logged by metric and epoch, without times."""
        return {key: [value for _, value in points] for key, points in self.points.items() if key[0] not in TIMES}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with the source; one thread, since the cells are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    home = Home(tmp_path_factory.mktemp("cell") / "mlruns")
    job = source_job(CELLS[0])
    assert job is not None
    pretrain(job, home, CPU, on_epoch=lambda result: None)
    yield home
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(home: Home) -> tuple[dict[str, Recorder], list[object]]:
    """Three of the four cells trained on one bench, by setting and seed, and what was measured meanwhile."""
    bench = Workbench(home, CPU, None)
    runs: dict[str, Recorder] = {}
    measured: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        real = shift.measure_shift
        patch.setattr(shift, "measure_shift", lambda *given: measured.append(given) or real(*given))
        for cell in CELLS[1:]:
            run = runs[f"{cell.recipe.normalization} {cell.recipe.seed}"] = Recorder()
            outcome = train_cell(cell, bench, run, attempt(home.make(home.work / cell.id)))
            assert not set(SHIFT_METRICS) & set(outcome.metrics)
    return runs, measured


def attempt(folder: Path, stop: Callable[[], bool] = lambda: False) -> Attempt:
    """One try at a cell whose state is kept in `folder`."""
    guard = DiskGuard(folder, 0, stop=lambda: False, tell=lambda reason: None)
    return Attempt(
        number=1, last_epoch=None, micro_batches=1, accelerate="auto", keep="last",
        keeping=Keeping(folder, lambda: None, guard, None, 600, say=lambda text: None),
        stop=stop, durable=lambda epoch: None,
        on_resume=lambda done, origin: None, on_epoch=lambda result: None,
    )  # fmt: skip


def weights(run: Recorder) -> dict[str, torch.Tensor]:
    """Return the tensors of a run's last checkpoint."""
    return load(run.files["last.safetensors"])


def same(run: Recorder, other: Recorder) -> bool:
    """Say whether two runs ended with the same bits."""
    ours, theirs = weights(run), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_each_cell_logs_its_shift_with_the_first_epoch(trained: tuple[dict[str, Recorder], list[object]]) -> None:
    """All four shifts are there once a run, measured once for both seeds of a setting; a tag says against what."""
    runs, measured = trained
    assert list(runs) == ["pretrain 2", "minmax 1", "minmax 2"]
    assert len(measured) == 2
    shifts = {}
    for name, run in runs.items():
        values = run.values()
        assert [key for key in values if key[0] in SHIFT_METRICS] == [(metric, 0) for metric in SHIFT_METRICS]
        assert run.tags["tracker.shift_reference"] == "histogram"
        shifts[name] = [values[metric, 0] for metric in SHIFT_METRICS]
    assert shifts["minmax 1"] == shifts["minmax 2"]
    assert all(far > near for far, near in zip(shifts["minmax 1"], shifts["pretrain 2"], strict=True))


def test_a_resumed_cell_logs_the_same_shift_at_the_same_time(
    home: Home, trained: tuple[dict[str, Recorder], list[object]], tmp_path: Path
) -> None:
    """Stopped in its second epoch and continued by another process, a run holds each shift once; no bit differs."""
    whole, run = trained[0]["minmax 1"], Recorder()
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train_cell(MINMAX, Workbench(home, CPU, None), run, attempt(tmp_path, stop=lambda: next(asked) == 3))
    assert max(epoch for _, epoch in run.points) == 0
    train_cell(MINMAX, Workbench(home, CPU, None), run, attempt(tmp_path))
    assert run.values() == whole.values()
    assert all(len(run.points[name, 0]) == 1 for name in SHIFT_METRICS)
    assert same(run, whole)


def test_no_bit_of_the_training_depends_on_the_measuring(
    home: Home, trained: tuple[dict[str, Recorder], list[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and every metric of every epoch are the same where nothing is measured."""
    with_shift, without = trained[0]["minmax 1"], Recorder()
    monkeypatch.setattr(ShiftMeter, "measure", lambda *_: None)
    train_cell(MINMAX, Workbench(home, CPU, None), without, attempt(tmp_path))
    kept = {key: value for key, value in with_shift.values().items() if key[0] not in SHIFT_METRICS}
    assert kept == without.values()
    assert len(kept) == len(with_shift.values()) - 4
    assert "tracker.shift_reference" not in without.tags
    assert same(with_shift, without)


def test_cells_of_one_bench_see_their_own_shift(home: Home) -> None:
    """What a recipe shifts reaches training, statistics and fingerprint; a neighbour's images stay as they are."""
    bench = Workbench(home, CPU, None)
    plain = CELLS[0]
    dimmed = parse_study(
        {**STUDY, "recipe": {**STUDY["recipe"], "shift": "gain=0.25", "epochs": 1}}, file="dimmed.yaml"
    ).cells[0]
    images = bench.images(plain.recipe, plain.dataset)
    darker = bench.images(dimmed.recipe, dimmed.dataset)
    assert bench.images(plain.recipe, plain.dataset) is images
    assert darker.statistics.mean[0] == pytest.approx(images.statistics.mean[0] / 4, abs=0.002)
    assert int(bench.data(plain, images).train.images.max()) > 200
    assert int(bench.data(dimmed, darker).train.images.max()) <= 64
    run = Recorder()
    train_cell(dimmed, bench, run, attempt(home.make(home.work / dimmed.id)))
    assert run.tags["dataset.fingerprint"] == darker.fingerprint != images.fingerprint
    assert run.values()["shift_std", 0][0] > 0.5


def test_a_cell_is_trained_in_its_precision(home: Home, trained: tuple[dict[str, Recorder], list[object]]) -> None:
    """bfloat16 moves the loss a little; its checkpoint is float32."""
    rounded = parse_study({**STUDY, "recipe": {**STUDY["recipe"], "precision": "bf16", "epochs": 1}}, file="made.yaml")
    run = Recorder()
    train_cell(rounded.cells[2], Workbench(home, CPU, None), run, attempt(home.make(home.work / rounded.cells[2].id)))
    exact = trained[0]["minmax 1"].values()["train_loss", 0][0]
    assert run.values()["train_loss", 0][0] != exact
    assert run.values()["train_loss", 0][0] == pytest.approx(exact, rel=0.2)
    assert {tensor.dtype for tensor in weights(run).values()} == {torch.float32, torch.int64}
