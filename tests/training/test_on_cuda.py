"""What only a GPU can show of the engine: recordings that fail, and recordings with all that goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.attempts import asked_at, attempt, few_images, short_recipe, undisturbed, without_times
from tracker.study.recipe import Precision, Recipe
from tracker.training.device import is_out_of_memory
from tracker.training.execution import (
    COMPILE,
    CUDA_GRAPH,
    CUDNN_BENCHMARK,
    FUSED_INPUT,
    FUSED_OPTIMIZER,
    PLAIN,
    Execution,
    prepare,
    set_kernel_choice,
)
from tracker.training.graphs import CudaRecorder
from tracker.training.input import build_input
from tracker.training.selfcheck import check_execution, with_usable_input
from tracker.training.splits import room_on, trial_data
from tracker.training.state import TrialState
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.images import ImageSet
from tracker.vision.sources import random_source
from tracker.vision.stand_ins import Shape, random_images

DEVICE = torch.device("cuda", 0)
RECORDED = Execution(frozenset({CUDA_GRAPH}))
ONE_BY_ONE = Execution(frozenset({FUSED_OPTIMIZER}))
LOSSES = ("train_loss", "val_loss", "test_loss")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.usefixtures("_as_it_was"),
]


@pytest.fixture
def _as_it_was(deterministic: None) -> Iterator[None]:
    """Put back what a test sets for the whole process."""
    yield
    set_kernel_choice(DEVICE)
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    torch.cuda.empty_cache()


def dropping(**changes: object) -> Recipe:
    """Return a recipe of a small network with BatchNorm and dropout, in batches of which the last is short."""
    return short_recipe("mobilenet_v3_small", batch_size=5, lr=1e-3, **{"epochs": 2, **changes})


def losses(state: TrialState) -> list[list[float]]:
    """Return what the epochs ended with."""
    return [[metrics[name] for name in LOSSES] for metrics in without_times(state)]


def assert_recorded_as_done_one_by_one(recipe: Recipe, images: ImageSet, room: int | None = None) -> None:
    """Train both ways, and see that nothing was said and all losses agree."""
    said: list[str] = []
    ours, _ = undisturbed(recipe, images, RECORDED, room, DEVICE, rehearsals=1, say=said.append)
    plain, _ = undisturbed(recipe, images, ONE_BY_ONE, room, DEVICE)
    assert said == []
    assert losses(ours) == [pytest.approx(each, rel=1e-3) for each in losses(plain)]


def test_a_recording_that_fails_leaves_nothing_behind() -> None:
    """Steps go on one by one with the right numbers, on the stream that was current, and the next recorder works."""
    recipe, images, current = dropping(tune="head"), few_images(32), torch.cuda.current_stream(DEVICE)
    found, said = [], []
    for execution in (RECORDED, ONE_BY_ONE):
        classifier = build_classifier(recipe, images, random_source(recipe.model))
        prepare(classifier, DEVICE, execution)
        classifier.head.register_forward_hook(lambda module, args, out: out if out.max().item() < 1e9 else None)
        epochs = run_epochs(
            *(recipe, classifier, trial_data(recipe, images, DEVICE), DEVICE),
            execution=execution,
            rehearsals=1,
            say=said.append,
        )
        found.append([[result.metrics[name] for name in LOSSES] for result in epochs])
        assert torch.cuda.current_stream(DEVICE) == current
    assert len(said) == 1 and said[0].startswith("steps are not recorded but done one by one: ")
    assert found[0] == [pytest.approx(each, rel=1e-3) for each in found[1]]

    numbers, recorder = torch.zeros(4, device=DEVICE), CudaRecorder(DEVICE)

    def work() -> None:
        numbers.add_(1)

    recorder.rehearse(work)
    replay = recorder.record(work)
    replay()
    replay()
    assert numbers.tolist() == [3] * 4
    assert torch.cuda.current_stream(DEVICE) == current


def test_a_recording_that_cannot_begin_leaves_the_stream_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has made the recorder's stream the current one by then, and leaves it so."""

    class Refusing(torch.cuda.CUDAGraph):
        """A graph that cannot be begun."""

        def capture_begin(self, *args: object, **ways: object) -> None:
            raise RuntimeError("no capture here")

    current, recorder = torch.cuda.current_stream(DEVICE), CudaRecorder(DEVICE)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Refusing)
    with pytest.raises(RuntimeError, match="no capture here"):
        recorder.record(lambda: None)
    assert torch.cuda.current_stream(DEVICE) == current


def test_recorded_steps_take_streamed_images() -> None:
    """Threads start their copies while steps are recorded."""
    assert_recorded_as_done_one_by_one(dropping(), few_images(32), room=0)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_recorded_steps_compute_in_their_precision(precision: Precision) -> None:
    """Casts are recorded with the rest, and read the weights of now."""
    assert_recorded_as_done_one_by_one(dropping(precision=precision), few_images(32))


def test_a_recorded_trial_goes_on_from_its_files(tmp_path: Path) -> None:
    """Each attempt with new objects and recordings, in the middle of an epoch with dropout."""
    recipe, images = dropping(), few_images(32)
    for _ in range(2):
        attempt(recipe, images, tmp_path, asked_at(3), RECORDED, device=DEVICE, rehearsals=1)
    ours, classifier = attempt(recipe, images, tmp_path, execution=RECORDED, device=DEVICE, rehearsals=1)
    plain, _ = undisturbed(recipe, images, ONE_BY_ONE, device=DEVICE)
    assert losses(ours) == [pytest.approx(each, rel=1e-3) for each in losses(plain)]
    assert ours.best_weights(classifier).keys() == classifier.state_dict().keys()


@pytest.mark.parametrize(
    "names",
    [{COMPILE, CUDA_GRAPH}, {CUDNN_BENCHMARK}, {CUDNN_BENCHMARK, CUDA_GRAPH}, {FUSED_INPUT, CUDA_GRAPH}],
    ids=lambda names: "+".join(sorted(names)),
)
def test_what_a_gpu_may_be_asked_for_passes_its_check(names: set[str]) -> None:
    """Compiled networks and input, and kernels chosen by trial, are recorded as well."""
    recipe, images = short_recipe("resnet18"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, DEVICE).train
    assert check_execution(recipe, classifier, train, DEVICE, Execution(frozenset(names))) is None


def test_a_fused_input_is_a_compiled_one() -> None:
    """What is asked for by that name is not the plain path under another name."""
    recipe, images = short_recipe("resnet18"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train, said = trial_data(recipe, images, DEVICE).train, []
    wanted = Execution(frozenset({FUSED_INPUT}))
    assert with_usable_input(recipe, classifier, train, wanted, said.append) == wanted, said
    prepare(classifier, DEVICE, wanted)
    assert build_input(classifier, recipe.crop_padding, train.images, wanted).name == "compiled"
    assert build_input(classifier, recipe.crop_padding, train.images, PLAIN).name == "plain"


def test_a_batch_that_does_not_fit_is_trained_in_parts() -> None:
    """Out of memory is told as such, leaves room for another attempt, and parts need less, evaluation included."""
    images = random_images(Shape(512, 64, 64, 10), seed=1)
    recipe = short_recipe("resnet18", batch_size=512, epochs=1, val_fraction=0.0)

    def train(parts: int) -> tuple[float, int]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(DEVICE)
        state, _ = undisturbed(recipe, images, device=DEVICE, micro_batches=parts)
        return state.history[0][1]["train_loss"], torch.cuda.max_memory_reserved(DEVICE)

    (whole, most), (_, least) = train(1), train(16)
    assert least < most / 2
    _, total = torch.cuda.mem_get_info(DEVICE)
    torch.cuda.set_per_process_memory_fraction((most + least) / 2 / total, DEVICE)
    with pytest.raises(RuntimeError) as raised:
        train(1)
    assert is_out_of_memory(raised.value)
    del raised
    in_parts, _ = train(16)
    assert in_parts == pytest.approx(whole, rel=0.2)  # BatchNorm sees the parts


def test_memory_of_a_graph_is_no_room_for_images() -> None:
    """What it replays in is held by nothing else, though torch does not call it allocated."""
    gigabyte, before = 1 << 30, room_on(DEVICE)
    out, recorder = torch.zeros((), device=DEVICE), CudaRecorder(DEVICE)

    def work() -> None:
        out.copy_(torch.ones(gigabyte // 4, device=DEVICE).sum())

    recorder.rehearse(work)
    replay = recorder.record(work)
    replay()
    assert out.item() == gigabyte // 4
    during = room_on(DEVICE)
    del replay
    after = room_on(DEVICE)
    assert before is not None and during is not None and after is not None
    assert before - during > 0.9 * gigabyte and abs(before - after) < 0.1 * gigabyte


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_trial_on_the_second_device_ends_as_on_the_first() -> None:
    """Whichever device is the current one, which stays it."""
    recipe, images, second = dropping(), few_images(32), torch.device("cuda", 1)
    found: list[Tensor] = []
    for device in (DEVICE, second):
        said: list[str] = []
        state, classifier = undisturbed(recipe, images, RECORDED, device=device, rehearsals=1, say=said.append)
        assert said == [] and torch.cuda.current_device() == DEVICE.index
        assert {weight.device for weight in classifier.parameters()} == {device}
        found.append(torch.tensor(losses(state)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=0)
