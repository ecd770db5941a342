"""The fused input pipeline: the bytes of PIL, the bits of the normalizations, in every layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor, nn

from tracker.study.errors import TrackerError
from tracker.vision.augmentation import EpochPlan, draw_plan, gather_batch
from tracker.vision.images import Statistics
from tracker.vision.kernels import indexed
from tracker.vision.kernels.library import KernelUnavailable, compile_library, find_compiler, open_library
from tracker.vision.kernels.native import NativeKernels
from tracker.vision.kernels.pipeline import InputPipeline, Setting, build_input_pipeline
from tracker.vision.normalizations import MinMax, PerImage, ZScore

RGB = ZScore(Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
GREY = ZScore(Statistics((0.305,), (0.327,)))
FORMATS = (torch.contiguous_format, torch.channels_last)
shapes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))


class Batchwise(nn.Module):
    """A normalization as a package might bring it: it looks at the whole batch."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float32, (N, C, H, W)."""
        unit = images.float() / 255
        return unit - unit.mean()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled kernels, for the tests of this module."""
    folder = tmp_path_factory.mktemp("kernels")
    try:
        find_compiler()
    except KernelUnavailable as error:
        pytest.skip(error.message)
    compile_library(folder)
    return folder


@pytest.fixture(scope="module")
def kernels(cache: Path) -> NativeKernels:
    """The compiled kernels."""
    return NativeKernels(open_library(next(cache.glob("*.so"))))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch with two threads, for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def noise(count: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Return random bytes, (count, C, H, W)."""
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def pil_crop(image: np.ndarray, top: int, left: int, flip: bool, padding: int) -> np.ndarray:
    """Pad with black, crop and mirror one image, (C, H, W), the way PIL does."""
    channels, height, width = image.shape
    pil = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
    cropped = ImageOps.expand(pil, border=padding, fill=0).crop((left, top, left + width, top + height))
    out = np.asarray(ImageOps.mirror(cropped) if flip else cropped)
    return out[None] if channels == 1 else out.transpose(2, 0, 1)


def native_bytes(kernels: NativeKernels, images: Tensor, plan: EpochPlan, padding: int) -> Tensor:
    """Take a batch's bytes by the compiled kernel."""
    out = torch.full((len(plan), *images.shape[1:]), 77, dtype=torch.uint8)
    kernels.take_bytes(images, plan, padding, out)
    return out


def indexed_bytes(kernels: NativeKernels, images: Tensor, plan: EpochPlan, padding: int) -> Tensor:
    """Take a batch's bytes by index arithmetic."""
    return indexed.take_bytes(images, indexed.plan_tensors(plan), padding, images.shape[1])


@pytest.mark.parametrize("take", [native_bytes, indexed_bytes])
@settings(max_examples=60)
@given(shape=shapes, padding=st.integers(0, 45), flip=st.booleans(), seed=st.integers(0, 2**31))
def test_every_byte_is_pils(
    kernels: NativeKernels,
    take: Callable[[NativeKernels, Tensor, EpochPlan, int], Tensor],
    shape: tuple[int, int, int],
    padding: int,
    flip: bool,
    seed: int,
) -> None:
    """Crops and flips are PIL's pad, crop and mirror, for any shape, and for padding wider than the image."""
    images = noise(7, shape, seed)
    plan = draw_plan(7, seed=seed, epoch=1, crop_padding=padding, flip=flip)
    ours = take(kernels, images, plan, padding).numpy()
    for place in range(7):
        source = images[plan.order[place]].numpy()
        expected = pil_crop(source, int(plan.top[place]), int(plan.left[place]), bool(plan.flip[place]), padding)
        assert np.array_equal(ours[place], expected)


@pytest.mark.parametrize("memory_format", FORMATS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("kind", [ZScore, MinMax, PerImage, Batchwise])
@settings(max_examples=25)
@given(
    shape=shapes.filter(lambda shape: shape[1] * shape[2] > 1),
    spread=st.booleans(),
    padding=st.integers(0, 5),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_bit_is_the_modules(
    cache: Path,
    kind: type[nn.Module],
    memory_format: torch.memory_format,
    shape: tuple[int, int, int],
    spread: bool,
    padding: int,
    flip: bool,
    seed: int,
) -> None:
    """A batch is what the module makes of its bytes, bit by bit, trained on or as it stands, short or not.

    `spread` repeats one-channel images for a network of three.
    """
    channels = 3 if spread else shape[0]
    normalization = (RGB if channels == 3 else GREY) if kind is ZScore else kind()
    images = noise(9, shape, seed)
    pipeline = build_input_pipeline(Setting(normalization, channels, padding, memory_format), images, cache=cache)
    assert (pipeline.name, pipeline.reason) == ("native", None)
    plan = draw_plan(9, seed=seed, epoch=0, crop_padding=padding, flip=flip)
    for part in (plan, plan.batch(8, 4), None):
        taken = images if part is None else gather_batch(images, part, padding)
        ours, expected = pipeline(images, part), normalization(taken.expand(-1, channels, -1, -1))
        assert ours.dtype == torch.float32
        assert ours.is_contiguous(memory_format=memory_format)
        assert torch.equal(ours, expected)


def test_per_image_statistics_are_torchs_on_images_of_all_kinds(cache: Path) -> None:
    """Of 6,000 crops, noise, dark, nearly constant and constant ones, every bit is the module's.

    Both know mean and deviation in doubles and round them to floats; where that could come out either way, the
    module computes the image. It is needed here, and seldom.
    """
    generator = torch.Generator().manual_seed(4)
    high = torch.randint(1, 257, (6000, 3, 1, 1), generator=generator)
    images = (torch.rand(6000, 3, 24, 17, generator=generator) * high).to(torch.uint8)
    images[:100] = 0
    images[50:100, :, 3, 4] = torch.arange(1, 51, dtype=torch.uint8)[:, None]
    images[100:200] = 255
    images[150:200, :, 3, 4] = 254
    pipeline = build_input_pipeline(Setting(PerImage(), 3, 2), images, cache=cache)
    plan = draw_plan(6000, seed=4, epoch=0, crop_padding=2, flip=True)
    assert torch.equal(pipeline(images, plan), PerImage()(gather_batch(images, plan, 2)))
    out = torch.empty(6000, 3, 24, 17)
    kernels = NativeKernels(open_library(next(cache.glob("*.so"))))
    doubtful = kernels.standardize(images, plan, 2, MinMax()(torch.arange(256, dtype=torch.uint8)), 1e-6, out)
    assert 0 < len(doubtful) < 600


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("normalization", [RGB, PerImage()])
def test_threads_change_nothing(cache: Path, normalization: nn.Module) -> None:
    """Each image is one thread's, so two threads give the bits of one."""
    images = noise(64, (3, 32, 32), 3)
    plan = draw_plan(64, seed=3, epoch=0, crop_padding=4, flip=True)
    pipeline = build_input_pipeline(Setting(normalization, 3, 4), images, cache=cache)
    kernels = NativeKernels(open_library(next(cache.glob("*.so"))))
    together, bytes_together = pipeline(images, plan), native_bytes(kernels, images, plan, 4)
    torch.set_num_threads(1)
    assert torch.equal(pipeline(images, plan), together)
    assert torch.equal(native_bytes(kernels, images, plan, 4), bytes_together)


def test_a_plan_of_other_images_is_refused(kernels: NativeKernels) -> None:
    """An image or an offset that is not there is an error, never memory of somebody else."""
    images = noise(4, (3, 8, 8), 0)
    plan = draw_plan(4, seed=0, epoch=0, crop_padding=2, flip=True)
    out = torch.empty(4, 3, 8, 8)
    table = torch.zeros(3, 256)
    for beyond in (plan.order + 1, plan.order - 1):
        with pytest.raises(TrackerError, match="not there"):
            kernels.look_up(images, EpochPlan(beyond, plan.top, plan.left, plan.flip), 2, table, out)
    for beyond in (plan.top + 5, plan.top - 5):
        with pytest.raises(TrackerError, match="not there"):
            kernels.look_up(images, EpochPlan(plan.order, beyond, plan.left, plan.flip), 2, table, out)
        with pytest.raises(TrackerError, match="not there"):
            kernels.take_bytes(images, EpochPlan(plan.order, plan.top, beyond, plan.flip), 2, noise(4, (3, 8, 8), 1))


def test_tensors_of_another_kind_are_refused(kernels: NativeKernels) -> None:
    """What the kernel would read wrongly never reaches it."""
    images, table = noise(4, (3, 8, 8), 0), torch.zeros(3, 256)
    plan = draw_plan(4, seed=0, epoch=0, crop_padding=0, flip=True)
    wrong: list[tuple[Tensor, EpochPlan | None, Tensor]] = [
        (images.float(), plan, torch.empty(4, 3, 8, 8)),
        (images.transpose(2, 3), plan, torch.empty(4, 3, 8, 8)),
        (images, plan, torch.empty(3, 3, 8, 8)),
        (images, None, torch.empty(4, 3, 8, 9)),
        (images, plan, torch.empty(4, 3, 8, 8).transpose(2, 3)),
        (images, EpochPlan(plan.order.int(), plan.top, plan.left, plan.flip), torch.empty(4, 3, 8, 8)),
        (images, EpochPlan(plan.order, plan.top, plan.left[:3], plan.flip), torch.empty(4, 3, 8, 8)),
        (images[:, :2].contiguous(), plan, torch.empty(4, 3, 8, 8)),
    ]
    for given_images, given_plan, out in wrong:
        with pytest.raises(ValueError, match=r"."):
            kernels.look_up(given_images, given_plan, 0, table, out)


def check_compiled(device: str, cache: Path) -> None:
    """See that the compiled way is right, and compiles once for all sizes and statistics."""
    pipelines: list[tuple[InputPipeline, InputPipeline, Tensor]] = []
    for shape, padding in (((3, 32, 32), 4), ((3, 20, 24), 3)):
        images = noise(64, shape, 5).to(device)
        for normalization in (RGB, PerImage()):
            setting = Setting(normalization.to(device), 3, padding, torch.channels_last)
            ours = build_input_pipeline(setting, images, cache=cache, way="compiled")
            assert (ours.name, ours.reason) == ("compiled", None)
            pipelines.append((ours, build_input_pipeline(setting, images, cache=cache, way="plain"), images))
    assert any((cache / "inductor").rglob("*"))
    torch.compiler.set_stance("fail_on_recompile")
    try:
        for number, (ours, plain, images) in enumerate(pipelines):
            padding = 4 if images.shape[2] == 32 else 3
            plan = draw_plan(64, seed=6, epoch=number, crop_padding=padding, flip=True).to(torch.device(device))
            for part in (plan.batch(0, 30), plan.batch(60, 30), None):
                assert torch.equal(ours(images, part), plain(images, part))
        other = ZScore(Statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))).to(device)
        assert build_input_pipeline(Setting(other, 3, 3, torch.channels_last), images, cache=cache, way="compiled").name
    finally:
        torch.compiler.set_stance("default")


@pytest.mark.soak
def test_the_compiled_way_is_right_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile gives the plain way's bits, for all sizes and statistics at once, and keeps what it made."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    check_compiled("cpu", tmp_path)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_compiled_way_is_right_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU one compiled kernel gives the plain way's bits."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    check_compiled("cuda", tmp_path)
