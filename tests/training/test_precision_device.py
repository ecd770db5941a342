"""Precision and devices: the settings of CUDA's libraries, what is refused, what is slow, and what a GPU computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.training.attempts import CPU
from tests.training.small_network import small_network
from tracker.study.errors import DeviceError
from tracker.study.recipe import PRECISIONS
from tracker.training.execution import PLAIN, prepare
from tracker.training.precision import require_precision, set_tf32, slowness


@pytest.fixture
def cuda_settings() -> Iterator[None]:
    """Put back what a process's CUDA libraries compute in."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.fp32_precision = "none"


@pytest.mark.usefixtures("cuda_settings")
@pytest.mark.parametrize("on", [True, False])
def test_tf32_is_switched_for_products_and_convolutions(on: bool) -> None:
    """Whatever was set before, every name that torch has for it can be read, and says the same."""
    torch.backends.cudnn.conv.fp32_precision = "ieee" if on else "tf32"  # type: ignore[attr-defined]
    for _ in range(2):
        set_tf32(on)
        libraries = (torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
        assert [library.fp32_precision for library in libraries] == ["tf32" if on else "ieee"] * 3
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (on, on)
        assert torch.get_float32_matmul_precision() == ("high" if on else "highest")


def test_a_cpu_does_not_pass_fp32_off_as_tf32() -> None:
    """A cell's precision is part of what it is, so what would compute something else is refused."""
    for precision in PRECISIONS:
        if precision != "tf32":
            require_precision(precision, CPU)
    with pytest.raises(DeviceError, match=r"recipe.precision tf32: this CPU .* would compute in fp32") as refused:
        prepare(small_network(), CPU, PLAIN, "tf32")
    assert "recipe.precision: fp32 or bf16" in str(refused.value.cure)


@pytest.mark.parametrize(("abilities", "slow"), [({}, False), ({"amx_bf16": True}, False), ({"amx_bf16": False}, True)])
def test_slow_bfloat16_is_told(abilities: dict[str, bool], slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor is known to have no instructions for it, and for no other precision."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **abilities}, raising=False)
    assert (slowness("bf16", CPU) is not None) is slow
    assert slowness("fp32", CPU) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("cuda_settings")
def test_precisions_of_a_gpu() -> None:
    """fp32 is fp32 in convolutions too, tf32 and bf16 are off by about their rounding."""
    device = torch.device("cuda")
    inputs = torch.rand(64, 1, 16, 16)
    exact = small_network().double().train().network(inputs.double()).detach()
    off: dict[str, float] = {}
    for precision in PRECISIONS:
        classifier = prepare(small_network(), device, PLAIN, precision)
        logits = classifier.train().network(inputs.to(device)).detach().cpu().double()
        off[precision] = float((logits - exact).norm() / exact.norm())
    assert off["fp32"] < 1e-5 < off["tf32"] < 1e-2
    assert 1e-4 < off["bf16"] < 1e-1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_of_a_bf16_step_reads_the_weights_of_now() -> None:
    """Replayed after the weights have changed, it gives what a network with those weights gives."""
    device = torch.device("cuda")
    classifier = prepare(small_network(), device, PLAIN, "bf16").train()
    inputs = torch.rand(64, 1, 16, 16, device=device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            classifier.network(inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        logits = classifier.network(inputs)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.mul_(1.5)
    graph.replay()
    assert torch.equal(logits, classifier.network(inputs).detach())
