"""What feeds a network: stored bytes and a plan in, normalized float32 out, by the fastest way that is right here.

Each way is compared with the plain one, torch step by step, when a trial begins; where it cannot be had or a bit
differs, the plain one goes on and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from tracker.study.errors import TrackerError
from tracker.vision.augmentation import EpochPlan, gather_batch
from tracker.vision.kernels import indexed
from tracker.vision.kernels.library import KernelUnavailable, cache_folder, load_library
from tracker.vision.kernels.native import MOST_CHANNELS, NativeKernels
from tracker.vision.normalizations import CONSTANT_STD, MinMax, PerImage, ZScore

Way = Literal["native", "compiled", "plain"]
"""`native`: gather.c, on a CPU. `compiled`: torch.compile. `plain`: torch, one operation after the other."""
Feed = Callable[[Tensor, EpochPlan | None], Tensor]

DEFAULT_WAYS: dict[str, Way] = {"cpu": "native", "cuda": "compiled"}
"""By type of device, the way of who asks for a fast one; elsewhere `plain`. `compiled` is slower on a CPU."""
CHECK_SEED = 20
BYTES = 256


@dataclass(frozen=True)
class Setting:
    """What a trial's input pipeline is made for.

    Args:
        normalization: on the device of the images; its statistics are taken when the pipeline is built.
        channels: C the network takes; one-channel images are repeated.
        crop_padding: pixels of black on every side before the crop.
        memory_format: of what is returned.
    """

    normalization: nn.Module
    channels: int
    crop_padding: int
    memory_format: torch.memory_format = torch.contiguous_format

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize bytes, (B, 1 or C, H, W), by the module itself."""
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        normalized: Tensor = self.normalization(images).contiguous(memory_format=self.memory_format)
        # With one channel both formats are one, but a convolution chooses by the strides.
        return normalized.as_strided(normalized.shape, self.strides(normalized.shape))

    def strides(self, shape: torch.Size) -> tuple[int, ...]:
        """Return the strides of a batch in the memory format."""
        _, channels, height, width = shape
        if self.memory_format == torch.channels_last:
            return channels * height * width, 1, channels * width, channels
        return channels * height * width, height * width, width, 1

    def table(self, device: torch.device) -> Tensor | None:
        """Return what each byte becomes, (C, 256), by the module itself; None where that depends on other pixels."""
        if type(self.normalization) not in (ZScore, MinMax):
            return None
        values = torch.arange(BYTES, dtype=torch.uint8, device=device).view(1, 1, 16, 16)
        with torch.no_grad():
            normalized: Tensor = self.normalization(values.expand(1, self.channels, 16, 16))
        return normalized.reshape(self.channels, BYTES).clone()


@dataclass(frozen=True)
class InputPipeline:
    """A trial's way from stored images to the network's input.

    Args:
        name: the way taken.
        reason: why it is not the one asked for; None where it is.
    """

    name: Way
    reason: str | None
    feed: Feed

    def __call__(self, images: Tensor, plan: EpochPlan | None = None) -> Tensor:
        """Return the network's input, (B, C, H, W).

        Args:
            images: uint8, (N, 1 or C, H, W): all of a split, on the device the pipeline was built for.
            plan: of B places, on that device; None for the images as they stand, as in evaluation.
        """
        return self.feed(images, plan)


def build_input_pipeline(
    setting: Setting, images: Tensor, *, cache: Path | None = None, way: Way | None = None
) -> InputPipeline:
    """Build the input pipeline of a trial, and see that it gives what the plain one gives, bit by bit.

    Args:
        images: of a split, for their shape and device.
        cache: a folder for compiled code, kept from process to process; by default this user's.
        way: by default the fastest known to be right on the device.

    Writes: compiled code, into `cache`.
    """
    plain = plain_feed(setting)
    way = way or DEFAULT_WAYS.get(images.device.type, "plain")
    if way == "plain":
        return InputPipeline("plain", None, plain)
    try:
        cache = cache or cache_folder()
        feed = native_feed(setting, images, cache) if way == "native" else compiled_feed(setting, images, cache)
        check(feed, plain, setting, images)
    except Exception as error:  # a compiler can fail in any way, and a trial does not need it
        return InputPipeline("plain", reason_of(error), plain)
    return InputPipeline(way, None, feed)


def reason_of(error: Exception) -> str:
    """Return one line that says what is wrong, and what would help where that is known."""
    if not isinstance(error, TrackerError):
        return f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return error.message if error.cure is None else f"{error.message}; {error.cure}"


def plain_feed(setting: Setting) -> Feed:
    """Return the plain way, by which the others are judged."""

    def feed(images: Tensor, plan: EpochPlan | None) -> Tensor:
        return setting.normalize(images if plan is None else gather_batch(images, plan, setting.crop_padding))

    return feed


def native_feed(setting: Setting, images: Tensor, cache: Path) -> Feed:
    """Return the way through gather.c, by a table, by statistics of each crop, or bytes for any other module.

    Raises:
        KernelUnavailable: the kernels cannot be had, or not for these images.

    Writes: the compiled library, into `cache`.
    """
    if images.device.type != "cpu" or not images.is_contiguous():
        raise KernelUnavailable("the native kernel takes contiguous images on a CPU")
    kernels, padding = NativeKernels(load_library(cache)), setting.crop_padding
    unit = MinMax()(torch.arange(BYTES, dtype=torch.uint8))
    table = setting.table(images.device)
    if table is not None and table.dtype != torch.float32:
        raise KernelUnavailable(f"the native kernel gives float32, this normalization {table.dtype}")

    def empty(images: Tensor, plan: EpochPlan | None) -> Tensor:
        shape = (len(images) if plan is None else len(plan), setting.channels, *images.shape[2:])
        return torch.empty(shape, memory_format=setting.memory_format)

    def by_table(table: Tensor, images: Tensor, plan: EpochPlan | None) -> Tensor:
        kernels.look_up(images, plan, padding, table, out := empty(images, plan))
        return out

    def by_image(images: Tensor, plan: EpochPlan | None) -> Tensor:
        doubtful = kernels.standardize(images, plan, padding, unit, CONSTANT_STD, out := empty(images, plan))
        if len(doubtful):
            chosen = images[doubtful] if plan is None else gather_batch(images, pick(plan, doubtful), padding)
            out[doubtful] = setting.normalize(chosen)
        return out

    def by_module(images: Tensor, plan: EpochPlan | None) -> Tensor:
        if plan is None:
            return setting.normalize(images)
        taken = torch.empty(len(plan), *images.shape[1:], dtype=torch.uint8)
        kernels.take_bytes(images, plan, padding, taken)
        return setting.normalize(taken)

    if table is not None:
        return partial(by_table, table)
    return by_image if type(setting.normalization) is PerImage and setting.channels <= MOST_CHANNELS else by_module


def compiled_feed(setting: Setting, images: Tensor, cache: Path) -> Feed:
    """Return the way through torch.compile; normalizations without a table follow as modules.

    Writes: what torch compiles, into `cache`.
    """
    indexed.keep_compiled(cache)
    padding, table = setting.crop_padding, setting.table(images.device)

    def by_table(images: Tensor, plan: EpochPlan | None) -> Tensor:
        parts = indexed.plan_tensors(plan)
        return indexed.compiled(indexed.look_up)(images, parts, padding, table, setting.memory_format)

    def by_module(images: Tensor, plan: EpochPlan | None) -> Tensor:
        if plan is None:
            return setting.normalize(images)
        parts = indexed.plan_tensors(plan)
        return setting.normalize(indexed.compiled(indexed.take_bytes)(images, parts, padding, images.shape[1]))

    return by_module if table is None else by_table


def pick(plan: EpochPlan, places: Tensor) -> EpochPlan:
    """Return some places of a plan."""
    return EpochPlan(plan.order[places], plan.top[places], plan.left[places], plan.flip[places])


def check_images(shape: torch.Size, device: torch.device) -> Tensor:
    """Return bytes that tell ways apart: noise, black, one grey, and one odd pixel; uint8, (12, C, H, W)."""
    generator = torch.Generator().manual_seed(CHECK_SEED)
    images = torch.randint(0, BYTES, (12, *shape), dtype=torch.uint8, generator=generator)
    images[0], images[1], images[2] = 0, 200, 7
    images[2, ..., -1, 0] = 8
    return images.to(device)


def check_plan(padding: int, device: torch.device) -> EpochPlan:
    """Return a plan over those images with every corner of the padding, flipped and not."""
    ends = torch.tensor([0, padding, 2 * padding])
    top, left = (offsets.flatten().repeat(2) for offsets in torch.meshgrid(ends, ends, indexing="ij"))
    flip = torch.arange(18) >= 9
    return EpochPlan(torch.arange(18) * 5 % 12, top, left, flip).to(device)


def check(feed: Feed, plain: Feed, setting: Setting, images: Tensor) -> None:
    """Compare a way with the plain one, with and without a plan.

    Raises:
        KernelUnavailable: a number, the type or the memory format differs.
    """
    some, plan = check_images(images.shape[1:], images.device), check_plan(setting.crop_padding, images.device)
    for part, what in ((plan, "augmented"), (plan.batch(3, 5), "augmented, of a short batch"), (None, "as they stand")):
        ours, expected = feed(some, part), plain(some, part)
        if ours.dtype != expected.dtype or ours.stride() != expected.stride():
            raise KernelUnavailable(f"images {what} have another type or memory format than by the plain way")
        if not torch.equal(ours, expected):
            share = (ours != expected).double().mean().item()
            raise KernelUnavailable(f"{share:.1%} of the numbers of images {what} are not those of the plain way")
