"""Shifts are what a count over every pixel gives, and measuring them changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy import stats
from torch import nn

from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.vision import shift
from tracker.vision.datasets import open_dataset, packed_folder
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier
from tracker.vision.normalizations import PerImage, build_normalization
from tracker.vision.packed import MANIFEST
from tracker.vision.shift import (
    Reference,
    ShiftMeter,
    measure_shift,
    reference_of,
    source_histogram,
    target_histogram,
)
from tracker.vision.sources import Source, random_source
from tracker.vision.statistics import PUBLISHED, histogram, repeated, shifted, statistics_of

LOW = DatasetSpec(kind="digits", classes=(0, 1, 2, 3, 4), image_size=16)
HIGH = DatasetSpec(kind="digits", classes=(5, 6, 7, 8, 9), image_size=16)

batches = nps.arrays(
    np.uint8, st.tuples(st.integers(2, 5), st.sampled_from([1, 3]), st.integers(2, 6), st.integers(2, 6))
).filter(lambda images: min(statistics_of(histogram(images)).std) > 0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, ImageSet, ImageSet]:
    """A home with the digits 0 to 4, which a source was trained on, and 5 to 9, both packed."""
    home = Home(tmp_path_factory.mktemp("digits") / "mlruns")
    return home, open_dataset("low", LOW, home), open_dataset("high", HIGH, home)


def source(statistics: Statistics | None, name: str = "mine", channels: int = 1) -> Source:
    """Make a source of which all but the weights is known."""
    return Source(name, "resnet18", channels, statistics, None, f"{name} {statistics}")


def classifier(setting: str, target: Statistics, own: Statistics, channels: int) -> Classifier:
    """Make a classifier with a network of one convolution and its BatchNorm, seed 0."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout())
    normalization = build_normalization(setting, target=repeated(target, channels), source=repeated(own, channels))
    return Classifier(normalization, network, "none", channels)


def pixels(images: np.ndarray, normalization: nn.Module, channels: int) -> np.ndarray:
    """Normalize every pixel; float64, (C, N * H * W)."""
    fed = normalization(torch.from_numpy(images).expand(-1, channels, -1, -1))
    return fed.transpose(0, 1).flatten(1).double().numpy()


@given(batches, batches, st.sampled_from(["finetune", "pretrain", "minmax", "instance"]))
def test_shifts_are_those_of_all_pixels(images: np.ndarray, trained: np.ndarray, setting: str) -> None:
    """Mean, deviation and SciPy's Wasserstein distance over every pixel, for one channel and three."""
    channels = max(images.shape[1], trained.shape[1])
    target, own = (repeated(statistics_of(histogram(each)), channels) for each in (images, trained))
    network = classifier(setting, target, own, channels)
    counts = np.broadcast_to(histogram(trained), (channels, 256))
    reference = reference_of(source(own, channels=channels), counts)
    assert reference is not None and reference.known == "histogram"
    found = measure_shift(network, histogram(images), images, reference)
    fed = pixels(images, network.normalization, channels)
    mean, std = (np.array(values).reshape(-1, 1) for values in (own.mean, own.std))
    was_fed = (pixels(trained, nn.Identity(), channels) / 255 - mean) / std
    assert found.mean == pytest.approx(np.abs(fed.mean(axis=1)).mean(), abs=1e-9)
    assert found.std == pytest.approx(np.abs(fed.std(axis=1) - 1).mean(), abs=1e-9)
    distances = [stats.wasserstein_distance(one, other) for one, other in zip(fed, was_fed, strict=True)]
    assert found.wasserstein == pytest.approx(np.mean(distances), abs=1e-9)


@pytest.mark.parametrize("setting", ["finetune", "pretrain", "minmax"])
def test_on_real_pixels_the_histogram_is_exact(digits: tuple[Home, ImageSet, ImageSet], setting: str) -> None:
    """Under an affine normalization 256 counts give what all pixels of the training split give, to the last digits."""
    home, low, high = digits
    network = classifier(setting, high.statistics, low.statistics, 1)
    found = ShiftMeter(home).measure(
        Recipe(model="resnet18", dataset="high", normalization=setting), HIGH, high, source(low.statistics), network
    )
    assert found is not None and found.known == "histogram"
    fed = pixels(high.train.images, network.normalization, 1)[0]
    was_fed = (low.train.images.ravel() / 255 - low.statistics.mean[0]) / low.statistics.std[0]
    assert found.mean == pytest.approx(abs(fed.mean()), abs=1e-12)
    assert found.std == pytest.approx(abs(fed.std() - 1), abs=1e-12)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(fed, was_fed), abs=1e-12)


def test_the_order_of_the_images_does_not_show(digits: tuple[Home, ImageSet, ImageSet]) -> None:
    """Shuffled images, and pixels, have the very same shift."""
    _, low, high = digits
    network = classifier("pretrain", high.statistics, low.statistics, 1)
    reference = reference_of(source(low.statistics), histogram(low.train.images))
    assert reference is not None
    shuffled = np.random.default_rng(0).permutation(high.train.images.ravel()).reshape(high.train.images.shape)
    one, other = (
        measure_shift(network, histogram(images), high.train.images, reference)
        for images in (high.train.images, shuffled)
    )
    assert one == other


def test_the_sources_own_images_are_not_shifted(digits: tuple[Home, ImageSet, ImageSet]) -> None:
    """z-scored as they were in pre-training, they are 0 away; minmax moves even them."""
    home, low, _ = digits
    own = source(low.statistics)
    shifts = {}
    for setting in ("finetune", "pretrain", "minmax"):
        recipe = Recipe(model="resnet18", dataset="low", normalization=setting)
        network = classifier(setting, low.statistics, low.statistics, 1)
        shifts[setting] = ShiftMeter(home).measure(recipe, LOW, low, own, network)
        assert shifts[setting] is not None
    for setting in ("finetune", "pretrain"):
        numbers = shifts[setting].metrics()
        assert [numbers[name] for name in ("shift_mean", "shift_std", "shift_wasserstein")] == pytest.approx(
            [0, 0, 0], abs=1e-6
        )
    assert min(shifts["minmax"].mean, shifts["minmax"].std, shifts["minmax"].wasserstein) > 0.1


def test_published_statistics_count_as_they_are_used() -> None:
    """What the normalization divides by decides, be it the images' own or not."""
    images = np.random.default_rng(0).integers(0, 200, (4, 3, 8, 8), dtype=np.uint8)
    published, own = PUBLISHED["cifar10"], PUBLISHED["imagenet"]
    reference = Reference("z-score", Statistics((0.0,) * 3, (1.0,) * 3))
    found = measure_shift(classifier("finetune", published, own, 3), histogram(images), images, reference)
    expected = shifted(statistics_of(histogram(images)), published)
    assert found.mean == pytest.approx(np.abs(expected.mean).mean(), abs=1e-6)
    assert found.std == pytest.approx(np.abs(np.array(expected.std) - 1).mean(), abs=1e-6)


def test_imagenets_networks_were_fed_a_deviation_of_more_than_one() -> None:
    """torchvision divides by the deviation within images: over all pixels of ImageNet 1.19, 1.18 and 1.23 remain."""
    reference = reference_of(source(PUBLISHED["imagenet"], "torchvision", 3), None)
    assert reference is not None and reference.known == "imagenet"
    assert [round(std, 2) for std in reference.fed.std] == [1.19, 1.18, 1.23]
    assert reference.fed.mean == pytest.approx((0, 0, 0), abs=0.02)


def test_what_a_source_was_divided_by_does_not_count_under_pretrain() -> None:
    """Weights that were normalized by 0.5 saw the same images: under `pretrain` the shift is the same."""
    images = np.random.default_rng(0).integers(0, 200, (4, 3, 8, 8), dtype=np.uint8)
    found = []
    for own in (PUBLISHED["imagenet"], Statistics((0.5,) * 3, (0.5,) * 3)):
        reference = reference_of(source(own, "torchvision", 3), None)
        assert reference is not None
        found.append(measure_shift(classifier("pretrain", own, own, 3), histogram(images), images, reference))
    one, other = found
    assert (one.mean, one.std, one.wasserstein) == pytest.approx((other.mean, other.std, other.wasserstein), abs=1e-6)
    assert one.mean > 0.1


def test_random_weights_have_no_shift(digits: tuple[Home, ImageSet, ImageSet]) -> None:
    """What saw nothing before is not far from it."""
    home, low, high = digits
    recipe = Recipe(model="resnet18", dataset="high", source="random", normalization="minmax")
    network = classifier("minmax", high.statistics, low.statistics, 1)
    assert ShiftMeter(home).measure(recipe, HIGH, high, random_source("resnet18"), network) is None


def test_a_sources_images_are_found_by_its_statistics(home: Home) -> None:
    """A packed dataset with exactly the source's statistics is its own; others, damaged ones and none are not."""
    low, high = open_dataset("low", LOW, home), open_dataset("high", HIGH, home)
    found = source_histogram(source(low.statistics), home)
    assert found is not None and np.array_equal(found, histogram(low.train.images))
    rounded = Statistics(*(tuple(round(v, 4) for v in values) for values in (low.statistics.mean, low.statistics.std)))
    assert source_histogram(source(rounded), home) is None
    assert source_histogram(source(low.statistics, "torchvision"), home) is None
    assert source_histogram(source(None), home) is None
    (packed_folder("low", LOW, home) / MANIFEST).write_text("{")
    assert source_histogram(source(low.statistics), home) is None
    assert np.array_equal(source_histogram(source(high.statistics), home), histogram(high.train.images))
    unknown = reference_of(source(low.statistics), None)
    assert unknown is not None and unknown.known == "z-score"
    assert unknown.fed == Statistics((0.0,), (1.0,))


def test_the_packed_histogram_is_used_where_it_is_the_images_own(digits: tuple[Home, ImageSet, ImageSet]) -> None:
    """Counted once when the set was packed; images that are not in the home are counted now."""
    home, _, high = digits
    counted = histogram(high.train.images)
    assert np.array_equal(target_histogram(high, HIGH, home), counted)
    assert np.array_equal(target_histogram(high, HIGH, Home(home.root.with_name("empty"))), counted)


@pytest.mark.parametrize(("images", "values"), [(50, 1 << 21), (1 << 20, 60_000)])
def test_per_image_settings_are_measured_on_a_sample(
    digits: tuple[Home, ImageSet, ImageSet], monkeypatch: pytest.MonkeyPatch, images: int, values: int
) -> None:
    """Of many images some, evenly spaced, and of many pixels a grid: the shift is near that of all, and repeats."""
    _, low, high = digits
    network = classifier("instance", high.statistics, low.statistics, 1)
    reference = reference_of(source(low.statistics), histogram(low.train.images))
    assert reference is not None and isinstance(network.normalization, PerImage)
    whole = measure_shift(network, histogram(high.train.images), high.train.images, reference)
    monkeypatch.setattr(shift, "SAMPLE_IMAGES", images)
    monkeypatch.setattr(shift, "SAMPLE_VALUES", values)
    sampled, again = (
        measure_shift(network, histogram(high.train.images), high.train.images, reference) for _ in range(2)
    )
    assert sampled == again != whole
    assert sampled.wasserstein == pytest.approx(whole.wasserstein, abs=0.02)
    assert shift.input_distribution(network, np.ones((1, 256)), high.train.images)[0].size <= max(values, 50 * 256)


def test_measuring_changes_nothing(digits: tuple[Home, ImageSet, ImageSet]) -> None:
    """Weights, statistics, each module's mode, hooks and random states are as they were; replicates share."""
    home, low, high = digits
    recipe = Recipe(model="resnet18", dataset="high", normalization="instance")
    network = classifier("instance", high.statistics, low.statistics, 1)
    network.train()
    network.network[1].eval()  # type: ignore[index, operator, union-attr]
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    meter = ShiftMeter(home)
    found = meter.measure(recipe, HIGH, high, source(low.statistics), network)
    assert found is not None and list(found.metrics()) == [
        "shift_mean", "shift_std", "shift_wasserstein", "shift_activations",
    ]  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), random)
    assert np.random.get_state()[1].tolist() == numpy_state  # type: ignore[index, union-attr]
    assert [module.training for module in network.modules()] == modes
    assert all(not module._forward_pre_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.is_grad_enabled()
    replicate = recipe.model_copy(update={"seed": 7, "epochs": 3})
    assert meter.measure(replicate, HIGH, high, source(low.statistics), network) is found
    other = recipe.model_copy(update={"normalization": "minmax"})
    network = classifier("minmax", high.statistics, low.statistics, 1)
    assert meter.measure(other, HIGH, high, source(low.statistics), network) != found


def test_a_set_is_looked_up_under_the_name_it_has(digits: tuple[Home, ImageSet, ImageSet], tmp_path: Path) -> None:
    """Without any packed set in a home, a source's distribution is taken as normal, and the shift says so."""
    _, low, high = digits
    recipe = Recipe(model="resnet18", dataset="high", normalization="pretrain")
    network = classifier("pretrain", high.statistics, low.statistics, 1)
    found = ShiftMeter(Home(tmp_path)).measure(recipe, HIGH, high, source(low.statistics), network)
    assert found is not None and found.known == "z-score"
    fed = np.sort(pixels(high.train.images, network.normalization, 1)[0])
    expected = np.abs(fed - stats.norm.ppf((np.arange(len(fed)) + 0.5) / len(fed))).mean()
    assert found.wasserstein == pytest.approx(expected, abs=1e-4)
