"""Images that do not fit on the device: brought there batch by batch, with the same bits."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch

from tests.training.attempts import CPU, asked_at, assert_same_bits, attempt, few_images, short_recipe, undisturbed
from tests.training.recorders import Repeater
from tracker.training import splits, staging
from tracker.training.execution import CUDA_GRAPH, FUSED_OPTIMIZER, PLAIN, Execution, usual_execution
from tracker.training.selfcheck import check_execution, with_usable_input
from tracker.training.splits import DeviceSplit, StreamedSplit, bring, room_on, trial_data
from tracker.training.staging import staged
from tracker.training.trial import build_classifier
from tracker.vision.augmentation import draw_plan
from tracker.vision.images import Split
from tracker.vision.sources import random_source


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_pieces_come_in_order_whatever_the_threads(threads: int) -> None:
    """Each is the rows it names, and only so many are on their way."""
    source = torch.arange(40 * 3, dtype=torch.uint8).view(40, 3, 1, 1)
    pieces = list(torch.randperm(40, generator=torch.Generator().manual_seed(0)).split(3))
    found = list(staged(source, pieces, CPU, threads))
    assert len(found) == 14
    assert all(torch.equal(rows, source[piece]) for rows, piece in zip(found, pieces, strict=True))


def test_who_stops_early_leaves_no_thread_behind() -> None:
    """Batches that nobody takes any more are not waited for."""
    source = torch.zeros((10, 1, 2, 2), dtype=torch.uint8)
    with closing(staged(source, [torch.tensor([place]) for place in range(10)], CPU)) as rows:
        assert next(rows).shape == (1, 1, 2, 2)
        assert [thread for thread in threading.enumerate() if thread.name.startswith("images")]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("images")] == []
    with pytest.raises(StopIteration):
        next(rows)


def test_an_error_while_gathering_is_the_trials() -> None:
    """A place that is not there, or a disk that fails, ends the epoch with its own message."""
    source = torch.zeros((3, 1, 2, 2), dtype=torch.uint8)
    with pytest.raises((IndexError, RuntimeError), match="out of range"):
        list(staged(source, [torch.tensor([0]), torch.tensor([3])], CPU))


@pytest.mark.parametrize(("threads", "execution"), [(1, PLAIN), (3, usual_execution(CPU))])
def test_streamed_training_is_the_same_bit_for_bit(
    threads: int, execution: Execution, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Plain and with all that a CPU is trained with, stopped in the middle of an epoch."""
    monkeypatch.setattr(staging, "THREADS", threads)
    recipe, images = short_recipe("mobilenet_v3_small", batch_size=5, epochs=2, tune="head"), few_images(32)
    state, _ = attempt(recipe, images, tmp_path, asked_at(6), execution, room=0)
    assert (state.position.epoch, state.position.step) == (1, 2)
    ours = attempt(recipe, images, tmp_path, execution=execution, room=0)
    assert_same_bits(ours, undisturbed(recipe, images, execution))


def test_recorded_steps_take_streamed_images() -> None:
    """Their bytes are copied to where the recording reads them."""
    recipe, images = short_recipe("mobilenet_v3_small", batch_size=5, epochs=2, tune="head"), few_images(32)
    recorder, recorded = Repeater(), Execution(frozenset({CUDA_GRAPH}))
    ours = undisturbed(recipe, images, recorded, room=0, recorder=recorder, rehearsals=1)
    resident = undisturbed(recipe, images, Execution(frozenset({FUSED_OPTIMIZER})))
    assert_same_bits(ours, resident, summed=("val_loss", "test_loss"))
    assert recorder.counts["replayed"] == 4 * 2 + 2 * 2 - 3


def test_splits_are_on_the_device_as_far_as_there_is_room() -> None:
    """Training images first, and one sentence says what is not; labels always are."""
    recipe, images = short_recipe(), few_images(8)
    sizes = {"train": 18 * 64, "test": 9 * 64, "val": 6 * 64}
    for room, there in (
        (sum(sizes.values()), {"train", "test", "val"}),
        (sizes["train"] + sizes["val"], {"train", "val"}),
        (sizes["train"] - 1, {"test", "val"}),
        (0, set[str]()),
    ):
        data = trial_data(recipe, images, CPU, room)
        placed = {"train": data.train, "test": data.test, "val": data.val}
        assert {name for name, split in placed.items() if not isinstance(split, StreamedSplit)} == there
        assert (data.notice is None) == (len(there) == 3)
    assert data.notice is not None and data.notice.endswith("of stripes are read batch by batch: beside the "
                                                            "training cpu has no room for them")  # fmt: skip
    assert (len(data.train), len(data.test)) == (18, 9)
    assert room_on(CPU) is None, "on a CPU images are where they are"


def test_a_device_that_turns_out_to_be_full_is_streamed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take memory between the look and the copy; another error is one."""
    split, device = few_images(8).train, torch.device("meta")

    def refuse(error: Exception) -> None:
        def failing(split: Split, device: torch.device) -> DeviceSplit:
            raise error

        monkeypatch.setattr(splits, "to_device", failing)

    refuse(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    placed = bring(split, device, room=None)
    assert isinstance(placed, StreamedSplit) and len(placed) == 24 and placed.images.device == device
    refuse(RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="device-side"):
        bring(split, device, room=None)


def test_a_plan_is_followed_and_evaluation_counts_every_image_once() -> None:
    """Streamed or not, batches hold the same images, from the step that is asked for."""
    recipe, images = short_recipe(), few_images(8)
    plan = draw_plan(18, seed=1, epoch=0, crop_padding=1, flip=True)
    resident, streamed = (trial_data(recipe, images, CPU, room).train for room in (None, 0))
    pairs = list(zip(resident.drawn(plan, 5, step=2), streamed.drawn(plan, 5, step=2), strict=True))
    assert [len(batch) for (_, batch), _ in pairs] == [5, 3]
    for (one, batch), (other, own) in pairs:
        assert torch.equal(one.images[batch.order], other.images[own.order])
        assert torch.equal(one.labels[batch.order], other.labels[own.order])
        assert all(torch.equal(getattr(batch, name), getattr(own, name)) for name in ("top", "left", "flip"))
    for one, other in zip(resident.in_order(7), streamed.in_order(7), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_the_checks_find_some_images_of_a_streamed_split() -> None:
    """They need a few, on the device."""
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, CPU, room=0).train
    said: list[str] = []
    wanted = with_usable_input(recipe, classifier, train, usual_execution(CPU), said.append)
    assert check_execution(recipe, classifier, train, CPU, wanted) is None and said == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_images_streamed_to_a_gpu_are_those_that_lie_there() -> None:
    """More batches than are ever on their way, each used by a kernel while the next ones are copied."""
    device = torch.device("cuda", 0)
    source = torch.randint(0, 256, (512, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pieces = list(torch.randperm(512, generator=torch.Generator().manual_seed(1)).split(16))
    sums = [rows.long().sum() for rows in staged(source, pieces, device)]
    assert torch.stack(sums).tolist() == [int(source[piece].long().sum()) for piece in pieces]
    assert room_on(device)
