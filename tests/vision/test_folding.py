"""A folded network is the network it was made of, and what docs/theory.md says about the settings holds."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tracker.study.errors import TrackerError, UsageError
from tracker.vision.folding import Border, BorderFill, _stem_name, fold_normalization
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import MinMax, PerImage, ZScore
from tracker.vision.statistics import PUBLISHED

IMAGENET = PUBLISHED["imagenet"]
DOUBLE = 1e-9
"""Relative to the largest logit; measured: 7e-13 at most."""
SINGLE = 2e-3
"""Likewise; measured: 3e-4 at most, and as much for the original, in float32 as well."""


def images(count: int = 2, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Make random bytes, seed 0."""
    shape = (count, channels, height, width)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def unit(raw: Tensor) -> Tensor:
    """Return bytes / 255, rounded to float32 as every normalization rounds them; float64."""
    return raw.float().div(255).double()


def one_layer(normalization: nn.Module, **options: object) -> Classifier:
    """Make a classifier that is one convolution, seed 0, in float64."""
    torch.manual_seed(0)
    stem = nn.Conv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **options})  # type: ignore[arg-type]
    return Classifier(normalization, nn.Sequential(stem), "none", stem.in_channels).double().eval()


def furthest(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module", params=["resnet18", "resnet50", "densenet121", "densenet161"])
def classifier(request: pytest.FixtureRequest) -> Iterator[Classifier]:
    """Each of the four models behind ImageNet's z-score, its BatchNorms as if trained, in float64."""
    network, head = build_network(request.param, channels=3, classes=10, seed=0)
    generator = torch.Generator().manual_seed(1)
    classifier = Classifier(ZScore(IMAGENET), network, head, 3).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # records one batch, and nothing of what it began with
            nn.init.uniform_(module.weight, 0.5, 1.5, generator)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator)
    with torch.no_grad():
        classifier(images(8))
    yield classifier.double().eval()


@torch.no_grad()
def test_the_folded_network_agrees(classifier: Classifier) -> None:
    """In float64 to 1e-9, at 32 and at an odd size; in float32 to rounding; with black borders not at all."""
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    exact, zero = fold_normalization(classifier), fold_normalization(classifier, "zero")
    after = classifier.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    odd, raw = images(height=37, width=33), images()
    assert furthest(exact(unit(odd)), classifier(odd)) < DOUBLE
    logits = classifier(raw)
    assert float((logits[0] - logits[1]).abs().max()) > 0.1 * float(logits.abs().max()), "it looks at its images"
    assert furthest(exact(unit(raw)), logits) < DOUBLE
    assert furthest(zero(unit(raw)), logits) > 1e-2
    single = fold_normalization(copy.deepcopy(classifier).float())(raw.float() / 255)
    assert single.dtype == torch.float32
    assert furthest(single.double(), logits) < SINGLE


@torch.no_grad()
@pytest.mark.parametrize("border", ["exact", "zero"])
def test_minmax_folds_to_the_same_network(border: Border) -> None:
    """Its map is the identity and its border black: same weights, same bits, no bias that was not there."""
    network, head = build_network("resnet18", channels=3, classes=10, seed=0)
    classifier = Classifier(MinMax(), network, head, 3).eval()
    folded = fold_normalization(classifier, border)
    state, own = folded.state_dict(), classifier.state_dict()
    assert state.keys() == own.keys() and all(torch.equal(state[name], own[name]) for name in own)
    assert torch.equal(folded(images() / 255), classifier(images()))


@torch.no_grad()
def test_a_single_channel_is_repeated() -> None:
    """A network of three channels takes one-channel images folded as it did before, one of one channel too."""
    for channels, statistics in ((3, IMAGENET), (1, Statistics((0.3,), (0.2,)))):
        classifier = one_layer(ZScore(statistics), in_channels=channels, padding=1)
        raw = images(channels=1)
        assert furthest(fold_normalization(classifier)(unit(raw)), classifier(raw)) < DOUBLE


@torch.no_grad()
def test_black_borders_change_the_border_only() -> None:
    """Where no tap of the kernel is on padding nothing differs; elsewhere it is the sum of those taps * mean / std.

    The stem of the four models: 7 x 7, stride 2, padding 3.
    """
    classifier = one_layer(ZScore(IMAGENET), kernel_size=7, stride=2, padding=3, bias=False)
    raw = images(height=32, width=33)
    difference = fold_normalization(classifier, "zero")(unit(raw)) - classifier(raw)
    weight = classifier.network[0].weight  # type: ignore[index]
    taps = weight * classifier.normalization.mean / classifier.normalization.std  # type: ignore[operator]
    touched = 0
    for row in range(16):
        for column in range(17):
            rows, columns = 2 * row - 3 + torch.arange(7), 2 * column - 3 + torch.arange(7)
            inside = ((rows >= 0) & (rows < 32))[:, None] & ((columns >= 0) & (columns < 33))
            expected = -(taps * ~inside).sum(dim=(1, 2, 3))
            touched += not bool(inside.all())
            assert torch.allclose(difference[:, :, row, column], expected.expand(2, -1), rtol=1e-9, atol=1e-12)
            assert bool(inside.all()) == (float(difference[:, :, row, column].abs().max()) < 1e-12)
    assert touched == 16 * 17 - 13 * 13


@torch.no_grad()
def test_a_border_is_filled_around_untouched_pixels() -> None:
    """Left, right, top, bottom, each channel by its own value."""
    raw = images(channels=2, height=2, width=3).double()
    filled = BorderFill(torch.tensor([5.0, -7.0], dtype=torch.float64), (1, 2, 3, 4))(raw)
    assert filled.shape == (2, 2, 9, 6)
    assert torch.equal(filled[:, :, 3:5, 1:4], raw)
    rest = filled.clone()
    rest[:, :, 3:5, 1:4] = torch.tensor([5.0, -7.0]).view(2, 1, 1)
    assert torch.equal(rest, torch.tensor([5.0, -7.0], dtype=torch.float64).view(1, 2, 1, 1).expand(2, 2, 9, 6))


channel_statistics = st.integers(1, 4).flatmap(
    lambda channels: st.builds(
        Statistics,
        *(
            st.lists(st.floats(low, 1), min_size=channels, max_size=channels).map(tuple)
            for low in (0, 0.02)  # a mean; a deviation
        ),
    )
)


@torch.no_grad()
@settings(max_examples=60)
@given(
    channel_statistics,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)) | st.sampled_from(["same", "valid"]),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    st.booleans(),
)
def test_any_convolution_absorbs_any_z_score(
    statistics: Statistics,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: int,
    bias: bool,
    mode: str,
    grouped: bool,
) -> None:
    """Of whatever kernel, stride, dilation, groups and padding; another kind of padding has no wrong border."""
    classifier = one_layer(
        ZScore(statistics),
        in_channels=statistics.channels,
        out_channels=2 * statistics.channels,
        kernel_size=kernel,
        stride=1 if padding == "same" else stride,
        padding=padding,
        dilation=dilation,
        groups=statistics.channels if grouped else 1,
        bias=bias,
        padding_mode=mode,
    )
    raw = images(channels=statistics.channels, height=9, width=8)
    expected = classifier(raw)
    assert torch.allclose(fold_normalization(classifier)(unit(raw)), expected, rtol=1e-9, atol=1e-9)
    black = fold_normalization(classifier, "zero")(unit(raw))
    if mode != "zeros" or padding in ("valid", (0, 0)):
        assert torch.allclose(black, expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_what_is_not_affine_cannot_be_folded() -> None:
    """A normalization by each image, an own one and a subclass are refused with the reason."""

    class Own(ZScore):
        pass

    for normalization, reason in (
        (PerImage(), "PerImage .* each image's own"),
        (nn.Identity(), "Identity .* not known to be one fixed affine map"),
        (Own(IMAGENET), "Own .* not known"),
    ):
        with pytest.raises(TrackerError, match=reason):
            fold_normalization(one_layer(normalization))
    with pytest.raises(UsageError, match=r"'black' is not a border\n +accepted: exact, zero"):
        fold_normalization(one_layer(MinMax()), "black")  # type: ignore[arg-type]


class Skip(nn.Module):
    """A network that looks at its input twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Add the input to what the convolution makes of it."""
        return self.first(images) + images


class Twice(Skip):
    """A network that uses its first convolution twice."""

    def forward(self, images: Tensor) -> Tensor:
        """Go through the same weights again."""
        return self.first(self.first(images))


class Asking(Skip):
    """A network whose way depends on its input's values."""

    def forward(self, images: Tensor) -> Tensor:
        """Look at a pixel first."""
        return self.first(images) if images[0, 0, 0, 0] > 0 else images


class Sized(Skip):
    """A network that asks for its input's size only."""

    def forward(self, images: Tensor) -> Tensor:
        """Flatten what the convolution makes of it."""
        return self.first(images).reshape(images.shape[0], -1) / images.size(2)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Skip(), "Skip gives its input to add, first, not to first alone"),
        (Twice(), "Twice uses its first convolution, first, more than once"),
        (Asking(), "Asking cannot be followed from its input to first"),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), "Sequential gives its input to 0, not to 1 alone"),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "Sequential has no convolution"),
        (nn.Conv2d(3, 4, 3), "Conv2d has no convolution as a part"),
        (nn.Sequential(nn.LazyConv2d(4, 3)), "begins with 0, a LazyConv2d: not a plain Conv2d"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_networks_that_begin_otherwise_are_refused(network: nn.Module, reason: str) -> None:
    """Whatever a fold would change besides the first convolution's input is named."""
    with pytest.raises(TrackerError, match=reason):
        fold_normalization(Classifier(ZScore(IMAGENET), network, "none", 3))


@torch.no_grad()
def test_a_network_may_ask_for_the_size_of_its_input() -> None:
    """Shape and size are the same, folded or not."""
    torch.manual_seed(0)
    classifier = Classifier(ZScore(IMAGENET), Sized(), "none", 3).double().eval()
    assert furthest(fold_normalization(classifier)(unit(images())), classifier(images())) < DOUBLE


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_torchvisions_networks_are_folded_or_refused_by_name() -> None:
    """Those that begin within a module, with patches, or with an own change of the input, which is refused."""
    for model, stem in (
        ("googlenet", "conv1.conv"), ("vit_b_16", "conv_proj"), ("swin_t", "features.0.0"), ("vgg11", "features.0"),
    ):  # fmt: skip
        options = {"aux_logits": False} if model == "googlenet" else {}
        with torch.device("meta"):
            network = torchvision.models.get_model(model, weights=None, **options)
        assert _stem_name(network) == stem
    with torch.device("meta"):
        network = torchvision.models.googlenet(weights=None, aux_logits=False, transform_input=True)
    with pytest.raises(TrackerError, match=r"GoogLeNet changes its input itself \(transform_input\)"):
        _stem_name(network)
