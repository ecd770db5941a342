"""Normalizations: exact, different from each other, and inside the model."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torchvision import transforms

from tracker.study.errors import SourceError, UsageError
from tracker.study.recipe import NORMALIZATIONS, normalization_names
from tracker.vision.images import Statistics
from tracker.vision.normalizations import BUILDERS, MinMax, PerImage, ZScore, build_normalization, register

TARGET = Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
SOURCE = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def images() -> torch.Tensor:
    """Eight random RGB images, uint8, seed 0."""
    return torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_pil(image: torch.Tensor) -> Image.Image:
    """Return one image, (C, H, W), as PIL has it."""
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def test_every_known_name_has_a_builder() -> None:
    """The names a study may use and the normalizations that can be built are the same."""
    assert list(BUILDERS) == list(NORMALIZATIONS) == normalization_names()
    assert len(BUILDERS) == 4


def test_every_normalization_can_be_built_and_differs_from_the_others(images: torch.Tensor) -> None:
    """No setting silently does nothing: on one batch all outcomes differ, pair by pair."""
    outcomes = {name: build_normalization(name, target=TARGET, source=SOURCE)(images) for name in normalization_names()}
    pairs = list(combinations(outcomes, 2))
    assert len(pairs) == 6
    for one, other in pairs:
        assert (outcomes[one] - outcomes[other]).abs().max() > 0.01, (one, other)
    assert all(outcome.dtype == torch.float32 and outcome.shape == images.shape for outcome in outcomes.values())


@pytest.mark.parametrize(("name", "statistics"), [("finetune", TARGET), ("pretrain", SOURCE)])
def test_z_scores_are_bit_identical_to_torchvision(images: torch.Tensor, name: str, statistics: Statistics) -> None:
    """`(u8/255 - mean)/std` has the very bits of ToTensor and Normalize."""
    reference = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(list(statistics.mean), list(statistics.std))]
    )
    expected = torch.stack([reference(as_pil(image)) for image in images])
    ours = build_normalization(name, target=TARGET, source=SOURCE)(images)
    assert torch.equal(ours, expected)


def test_minmax_is_bit_identical_to_torchvision(images: torch.Tensor) -> None:
    """minmax is ToTensor: bytes to [0, 1]."""
    expected = torch.stack([transforms.ToTensor()(as_pil(image)) for image in images])
    assert torch.equal(MinMax()(images), expected)


def test_instance_uses_each_image_alone_with_the_sample_deviation(images: torch.Tensor) -> None:
    """One image's result does not depend on its batch, and equals (x - mean) / std with ddof 1."""
    together = PerImage()(images)
    for number, image in enumerate(images):
        unit = transforms.ToTensor()(as_pil(image))
        expected = (unit - unit.mean((1, 2), keepdim=True)) / unit.std((1, 2), keepdim=True)
        assert torch.allclose(together[number], expected, atol=1e-6)
        assert torch.equal(PerImage()(image[None])[0], together[number])


@given(value=st.integers(0, 255), size=st.integers(8, 64))
def test_instance_makes_a_constant_channel_zero(value: int, size: int) -> None:
    """A constant channel carries nothing: 0 everywhere, not noise blown up by a tiny deviation."""
    flat = torch.full((1, 1, size, size), value, dtype=torch.uint8)
    assert torch.equal(PerImage()(flat), torch.zeros(1, 1, size, size))


@given(hnp.arrays(np.uint8, (2, 3, 9, 9)))
def test_instance_is_finite_and_of_unit_spread_for_any_image(pixels: np.ndarray) -> None:
    """Each channel that is not constant gets mean 0 and sample deviation 1; a single odd pixel is not constant."""
    outcome = PerImage()(torch.from_numpy(pixels))
    assert torch.isfinite(outcome).all()
    for image, raw in zip(outcome.flatten(0, 1), pixels.reshape(6, 9, 9), strict=True):
        expected = 0.0 if raw.min() == raw.max() else 1.0
        assert image.std().item() == pytest.approx(expected, abs=1e-3)
        assert image.mean().item() == pytest.approx(0, abs=1e-3)


def test_statistics_are_saved_with_the_model() -> None:
    """A z-score's mean and deviation are buffers: they travel in the checkpoint."""
    state = ZScore(TARGET).state_dict()
    assert state["mean"].flatten().tolist() == pytest.approx(TARGET.mean)
    assert state["std"].flatten().tolist() == pytest.approx(TARGET.std)


def test_a_constant_dataset_is_refused() -> None:
    """Nothing can be divided by a deviation of 0; the message says what to use instead."""
    with pytest.raises(SourceError, match="minmax"):
        ZScore(Statistics((0.5,), (0.0,)))


def test_pretrain_without_statistics_is_refused() -> None:
    """Random weights were trained with nothing, so `pretrain` has no meaning for them."""
    with pytest.raises(SourceError, match="random weights"):
        build_normalization("pretrain", target=TARGET, source=None)


def test_a_misspelt_name_is_refused() -> None:
    """`instnace` is an error that names what is accepted, never a silent fallback."""
    with pytest.raises(UsageError, match="finetune, pretrain, instance, minmax"):
        build_normalization("instnace", target=TARGET, source=SOURCE)


def test_a_name_is_registered_once() -> None:
    """Two normalizations cannot share a name."""
    with pytest.raises(ValueError, match="twice"):
        register("minmax")(lambda target, source: MinMax())
