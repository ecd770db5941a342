"""Augmentation: drawn from (seed, epoch) alone, applied as PIL would."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tracker.vision.augmentation import draw_plan, gather_batch


def pil_crop(image: np.ndarray, top: int, left: int, flip: bool, padding: int) -> np.ndarray:
    """Pad with black, crop and mirror one image, (C, H, W), the way PIL does."""
    channels, height, width = image.shape
    pil = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
    padded = ImageOps.expand(pil, border=padding, fill=0)
    cropped = padded.crop((left, top, left + width, top + height))
    out = np.asarray(ImageOps.mirror(cropped) if flip else cropped)
    return out[None] if channels == 1 else out.transpose(2, 0, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3]),
    size=st.integers(8, 40),
    padding=st.integers(0, 8),
    flip=st.booleans(),
)
def test_crops_and_flips_are_byte_identical_to_pil(
    seed: int, channels: int, size: int, padding: int, flip: bool
) -> None:
    """For equal parameters every byte equals PIL's pad, crop and mirror."""
    images = torch.randint(
        0, 256, (11, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    plan = draw_plan(11, seed=seed, epoch=3, crop_padding=padding, flip=flip)
    ours = gather_batch(images, plan, padding).numpy()
    for place in range(11):
        source = images[plan.order[place]].numpy()
        expected = pil_crop(source, int(plan.top[place]), int(plan.left[place]), bool(plan.flip[place]), padding)
        assert np.array_equal(ours[place], expected)


def test_an_epoch_shows_every_image_once() -> None:
    """The order is a permutation, and the batches of an epoch cover it, the short last one included."""
    plan = draw_plan(103, seed=1, epoch=0, crop_padding=4, flip=True)
    seen = torch.cat([plan.batch(first, 10).order for first in range(0, 103, 10)])
    assert sorted(seen.tolist()) == list(range(103))


def test_a_plan_depends_on_seed_and_epoch_alone() -> None:
    """Drawing epoch 7 does not need epochs 0 to 6: a resumed trial sees what it would have seen."""

    def draw(seed: int, epoch: int) -> list[int]:
        torch.manual_seed(np.random.default_rng(epoch).integers(1000))  # the global generator does not matter
        plan = draw_plan(50, seed=seed, epoch=epoch, crop_padding=4, flip=True)
        return [*plan.order.tolist(), *plan.top.tolist(), *plan.left.tolist(), *plan.flip.tolist()]

    assert draw(5, 7) == draw(5, 7)
    assert draw(5, 7) != draw(5, 8)
    assert draw(5, 7) != draw(6, 7)


def test_offsets_and_flips_are_spread_evenly() -> None:
    """Offsets are uniform over 0 .. 2 * padding, and half of the images are flipped."""
    plan = draw_plan(20_000, seed=0, epoch=0, crop_padding=4, flip=True)
    for offsets in (plan.top, plan.left):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert counts.min() > 20_000 / 9 * 0.9
    assert abs(plan.flip.float().mean().item() - 0.5) < 0.02


def test_without_flip_and_padding_images_stay_as_they_are() -> None:
    """`crop_padding: 0` and `flip: false` only reorder."""
    images = torch.arange(5 * 64, dtype=torch.uint8).view(5, 1, 8, 8)
    plan = draw_plan(5, seed=0, epoch=0, crop_padding=0, flip=False)
    assert torch.equal(gather_batch(images, plan, 0), images[plan.order])


def test_flip_does_not_change_order_and_crops() -> None:
    """Each purpose has a generator of its own, so switching one off leaves the others."""
    with_flip = draw_plan(64, seed=9, epoch=1, crop_padding=4, flip=True)
    without = draw_plan(64, seed=9, epoch=1, crop_padding=4, flip=False)
    assert torch.equal(with_flip.order, without.order)
    assert torch.equal(with_flip.top, without.top)
    assert not without.flip.any()
