"""A convolution that leaves out idle taps is the convolution, whatever its shape and its map's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tracker.vision.rewrites.centre_tap import FEWEST, LARGEST, CentreTapConv2d, touching, touching_each
from tracker.vision.rewrites.rewriting import rewrite

ROUNDING = 1e-13
"""Relative to the largest value; float64's eps is 2e-16, and 16 * 36 products are summed at most."""

sides = st.tuples(st.integers(1, 6), st.integers(1, 6))


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    """Draw a convolution in float64, in either format, weights of seed 0."""
    groups = draw(st.sampled_from([1, 2, 4]))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    torch.manual_seed(0)
    convolution = nn.Conv2d(
        4,
        draw(st.sampled_from([4, 8])),
        kernel,  # type: ignore[arg-type]
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=tuple(draw(st.integers(0, size - 1)) for size in kernel),  # type: ignore[arg-type]
        groups=groups,
        bias=draw(st.booleans()),
    )
    memory_format = draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    return convolution.double().to(memory_format=memory_format)


def answers(convolution: nn.Conv2d, images: Tensor, reply: Tensor | None = None) -> list[Tensor]:
    """Return the output, then the gradients of input and parameters for a reply, in order."""
    images = images.clone().requires_grad_()
    output = convolution(images)
    reply = torch.ones_like(output) if reply is None else reply
    return [output.detach(), *torch.autograd.grad(output, [images, *convolution.parameters()], reply)]


def rewritten(convolution: nn.Conv2d) -> CentreTapConv2d:
    """Return a convolution rewritten, its tensors shared; the first of a network is left alone."""
    shared = nn.Conv2d.__new__(nn.Conv2d)
    shared.__dict__.update(convolution.__dict__)
    rewrite(nn.Sequential(nn.Conv2d(1, 1, 1), shared), ["centre_tap"])
    assert isinstance(shared, CentreTapConv2d)
    return shared


def fits(convolution: nn.Conv2d, height: int, width: int) -> bool:
    """Say whether a padded map is as large as the kernel."""
    return all(
        side + 2 * padding >= kernel  # type: ignore[operator]
        for side, padding, kernel in zip((height, width), convolution.padding, convolution.kernel_size, strict=True)
    )


@settings(max_examples=150, deadline=None)
@given(convolutions(), sides, st.sampled_from([1, 3, FEWEST]))
def test_any_convolution_computes_the_same(convolution: nn.Conv2d, side: tuple[int, int], count: int) -> None:
    """Output and all gradients to rounding, of every kernel, stride, padding, group, size and format."""
    if not fits(convolution, *side):
        return
    images = torch.randn(count, 4, *side, dtype=torch.float64)
    reply = torch.randn_like(convolution(images))
    for ours, theirs in zip(
        answers(rewritten(convolution), images, reply), answers(convolution, images, reply), strict=True
    ):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= ROUNDING * max(1.0, float(theirs.abs().max()))


@settings(max_examples=150, deadline=None)
@given(convolutions(), sides)
def test_the_taps_that_are_left_out_are_those_on_padding(convolution: nn.Conv2d, side: tuple[int, int]) -> None:
    """They are the ones whose weight has no gradient, exactly none in both ways, where the output is one pixel."""
    if not fits(convolution, *side):
        return
    images = torch.ones(2, 4, *side, dtype=torch.float64)
    output, _, gradient, *_ = answers(convolution, images)
    window = touching(convolution, *side)
    assert (window is None) == (output.shape[2:] != (1, 1))
    if window is not None:
        inside = torch.zeros_like(gradient, dtype=torch.bool)
        inside[:, :, *window] = True
        assert bool(((gradient != 0) == inside).all())
        ours = answers(rewritten(convolution), images)[2]
        assert bool(((ours != 0) == inside).all())
        assert ours.stride() == gradient.stride()


@settings(max_examples=150, deadline=None)
@given(convolutions(), sides)
def test_each_pixel_of_few_sees_the_whole_map(convolution: nn.Conv2d, side: tuple[int, int]) -> None:
    """The windows are the taps that each output pixel depends on, no more than are worth it, and fewer than all."""
    if not fits(convolution, *side):
        return
    windows = touching_each(convolution, *side)
    output = convolution(torch.ones(1, 4, *side, dtype=torch.float64))
    if windows is None:
        return
    assert (len(windows), len(windows[0])) == output.shape[2:]
    assert output[0, 0].numel() * side[0] * side[1] <= LARGEST
    for row, line in enumerate(windows):
        for column, window in enumerate(line):
            (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), convolution.weight, retain_graph=True)
            inside = torch.zeros_like(gradient, dtype=torch.bool)
            inside[:, :, *window] = True
            assert bool(((gradient != 0) == inside).all())
            assert not bool(inside.all())


def test_the_size_decides_at_each_call() -> None:
    """One convolution: matrix products for maps of one pixel and of four, its own bits for larger ones."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, padding=1).double()
    ours = rewritten(convolution)
    for side in (3, 1, 2, 4, 1):
        assert (touching(convolution, side, side) is not None) == (side == 1)
        assert (touching_each(convolution, side, side) is not None) == (side in (1, 2))
        images = torch.randn(2, 4, side, side, dtype=torch.float64)
        if side > 2:
            assert torch.equal(ours(images), convolution(images))
    centre = torch.addmm(convolution.bias, images.flatten(1), convolution.weight[:, :, 1, 1].T)
    assert torch.equal(ours(images)[:, :, 0, 0], centre)
    assert torch.equal(ours(images[0]), convolution(images[0])), "an image without a batch"


@pytest.mark.parametrize("side", [(1, 1), (2, 2), (2, 1)])
def test_small_maps_keep_their_format(side: tuple[int, int]) -> None:
    """What follows finds maps laid out as after torch's own convolution, an optimizer gradients as its weights."""
    for weights in (torch.contiguous_format, torch.channels_last):
        for maps in (torch.contiguous_format, torch.channels_last):
            convolution = nn.Conv2d(4, 6, 3, padding=1).to(memory_format=weights)
            images = torch.randn(FEWEST, 4, *side).to(memory_format=maps)
            ours, theirs = answers(rewritten(convolution), images), answers(convolution, images)
            assert ours[0].is_contiguous() == theirs[0].is_contiguous()
            assert [each.stride() for each in ours[2:]] == [each.stride() for each in convolution.parameters()]


def test_convolutions_of_another_kind_are_left_alone() -> None:
    """Dilated, padded with anything but zeros, by a word, or beyond the kernel: as torch has them."""
    others = [
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=3),
    ]
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), *others)
    assert rewrite(network, ["centre_tap"]) == []
    assert all(type(module) is nn.Conv2d for module in network)
