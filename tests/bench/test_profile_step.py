"""`benchmarks.profile_step`: what a profile of steps says, and that it is of steps and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.autograd.profiler_util import FunctionEvent

from benchmarks.profile_step import main
from benchmarks.step_report import Bounds, Profile, Span, covered, markdown, profile_of, verdict

SLOW = Bounds(blocks=(9.0, 10.0, 30.0), flops=1e12, moved=1e9, peak=1e15, copying=1e12)
"""A step of 10 ms, of which arithmetic and memory explain 1 ms each."""


def event(name: str, start: float, end: float, *, gpu: bool = True, annotation: bool = False) -> FunctionEvent:
    """Return what torch's profiler makes of a kernel, or of a call on the host; microseconds."""
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    return FunctionEvent(
        0, name, 1, start, end, device_type=kind, is_user_annotation=annotation, use_device="cuda"
    )  # fmt: skip


def of_kernels(*kernels: tuple[float, float], steps: int = 1) -> Profile:
    """Return the profile of some steps' kernels, each from one moment to another, in microseconds."""
    return Profile(steps, True, 20.0, tuple(Span("k", start, end, end - start) for start, end in kernels), Counter())


def test_what_overlaps_counts_once() -> None:
    """Kernels of two streams, one within another, and a gap."""
    assert covered([Span("", 0, 4, 4), Span("", 3, 6, 3), Span("", 1, 2, 1), Span("", 10, 11, 1)]) == 7
    assert covered([]) == 0


def test_a_gpus_work_is_its_kernels() -> None:
    """Not the annotations that the profiler lays over them, nor the host's operations; the host's calls are counted."""
    events = [
        event("gemm", 0, 6), event("gemm", 10, 16), event("copy", 14, 20),
        event("Optimizer.step#Adam.step", 0, 20, annotation=True),
        event("aten::mm", 0, 9, gpu=False), event("cudaLaunchKernel", 1, 2, gpu=False),
        event("cudaLaunchKernelExC", 3, 4, gpu=False), event("cudaGraphLaunch", 5, 6, gpu=False),
    ]  # fmt: skip
    found = profile_of(events, 2, 0.5, on_gpu=True)
    assert [span.name for span in found.work] == ["gemm", "gemm", "copy"]
    assert (found.count, found.busy, found.elapsed) == (1.5, pytest.approx(16 / 2 / 1e3), 250.0)
    assert found.calls == {"cudaLaunchKernel": 1, "cudaLaunchKernelExC": 1, "cudaGraphLaunch": 1}
    table = markdown(SLOW, found, rows=1)
    assert "| `gemm` | 1.0 | 0.006 | 67 % |\n| 1 others | 0.5 | 0.003 | 33 % |" in table
    assert "| a step | median of 3 blocks | 10.00 (9.00 to 30.00) |  |" in table
    assert "| kernels under 5 us | 0 kernels | 0.00 | 0 % |" in table
    assert "| the host calls `cudaGraphLaunch` | 0.5 times |  |  |" in table
    assert "It gets 100 TFLOP/s." in table


def test_what_bounds_a_step() -> None:
    """Idle time is the host's, or a graph's own; then what explains the step, or its kernels where nothing does."""
    busy = of_kernels((0, 9_000))
    idle = of_kernels((0, 4_000), (5_000, 9_000))
    assert verdict(SLOW, idle) == "the host: for 20 % of a step the device has nothing to do"
    assert verdict(SLOW, replace(idle, calls=Counter(cudaGraphLaunch=1))) == (
        "the gaps between kernels: for 20 % of a step the graph goes from one to the next, 1,000.0 us each time"
    )
    assert verdict(SLOW, busy).startswith(
        "the kernels themselves: there is work nearly all the time, 1 kernels of 9,000"
    )
    assert verdict(replace(SLOW, peak=2e14), busy).startswith("arithmetic: on this machine the plain step cannot")
    assert verdict(replace(SLOW, copying=1e11), busy) == (
        "memory: on this machine the plain step cannot take less than 10.00 ms for it"
    )


def test_a_cpus_work_is_held_to_the_profiled_time() -> None:
    """The profiler holds operations up as it does all else; a GPU's kernels it does not."""
    work = (Span("aten::mm", 0, 18_000, 18_000),)
    assert Profile(1, False, 20.0, work, Counter()).share(10.0) == pytest.approx(0.9)
    assert Profile(1, True, 20.0, work, Counter()).share(10.0) == pytest.approx(1.8)
    assert "none of torch's operations" in verdict(SLOW, Profile(1, False, 40.0, work, Counter()))


def test_a_kernels_long_name_fits_a_cell() -> None:
    """Templates are cut, and nothing in a name ends the cell."""
    name = "void f<a|b>(`c`)" + "x" * 200
    row = markdown(SLOW, replace(of_kernels(), work=(Span(name, 0, 1, 1),)), rows=5).splitlines()[-1]
    assert row.startswith("| `void f<a/b>(c)xxx") and row.count("|") == 5 and len(row) < 130


def test_steps_are_profiled_as_they_are_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the execution that is asked for, and nothing else: one update a step, a gradient for each convolution."""
    words = ["--model", "squeezenet1_1", "--device", "cpu", "--batch-size", "2", "--steps", "2", "--times", "2"]
    trace = tmp_path / "trace.json"
    main([*words, "--accelerate", "fused_optimizer", "--rows", "100", "--trace", str(trace)])
    out, err = capsys.readouterr()
    calls = dict(re.findall(r"^\| `([^`]+)` \| ([\d.]+) \|", out, flags=re.MULTILINE))
    assert (calls["aten::_fused_adam_"], calls["aten::convolution_backward"]) == ("1.0", "26.0")
    assert "engine: fused_optimizer; 2 steps a block" in out and "| a step | median of 2 blocks |" in out
    assert re.search(r"Bounded by (the host|arithmetic|memory|the operations)", out)
    assert len(re.findall(r"ms a step: [\d.]+, [\d.]+$", err, flags=re.MULTILINE)) == 1
    assert json.loads(trace.read_text())["traceEvents"]


@pytest.mark.parametrize("words", [["--model", "resnet"], ["--accelerate", "fast"], ["--device", "gpu"]])
def test_wrong_words_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what is accepted."""
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2 and "accepted" in capsys.readouterr().err


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("accelerate", ["plain", "cuda_graph"])
def test_a_gpus_steps_are_profiled(accelerate: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Plainly the host starts every kernel; recorded it starts a graph a step, whose kernels are seen all the same."""
    main(["--model", "resnet18", "--device", "cuda", "--batch-size", "32", "--accelerate", accelerate])
    out, _ = capsys.readouterr()
    kernels = re.search(r"busy with kernels and copies \| ([\d,]+) kernels", out)
    assert kernels and int(kernels[1].replace(",", "")) > 100
    graphs = re.search(r"calls `cudaGraphLaunch` \| ([\d.]+) times", out)
    assert (graphs is not None and graphs[1] == "1.0") == (accelerate == "cuda_graph")
