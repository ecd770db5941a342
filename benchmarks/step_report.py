"""What a profile of training steps says: how busy the device is, with what, and what bounds a step."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

IDLE = 0.15
"""Share of a step from which on idle time bounds it."""
EXPLAINED = 0.5
"""Share of a step from which on the least time for its arithmetic, or for its bytes, is called its bound."""
SHORT_US = 5.0
"""A kernel under this does little but begin and end."""
NAME_LENGTH = 90
GRAPH = "cudaGraphLaunch"
"""The host's call that starts a whole recorded step."""
CALLS = ("cudaLaunch", "cuLaunch", GRAPH, "cudaMemcpyAsync", "cudaMemsetAsync", "cudaStreamSynchronize")
"""How the names of the host's calls begin that give the device something to do, or wait for it."""


@dataclass(frozen=True)
class Span:
    """A kernel, or an operation on the CPU; microseconds.

    Args:
        own: time in it and in nothing that it calls.
        leaf: whether it calls nothing.
    """

    name: str
    start: float
    end: float
    own: float
    leaf: bool = True


@dataclass(frozen=True)
class Profile:
    """What was done in some steps.

    Args:
        elapsed: milliseconds of a step, the profiler's own work included.
        work: a GPU's kernels and copies; of a CPU torch's operations.
        calls: the host's to CUDA, by name.
    """

    steps: int
    on_gpu: bool
    elapsed: float
    work: tuple[Span, ...]
    calls: Counter[str]

    @property
    def count(self) -> float:
        """Kernels of a step; on a CPU operations that call no other."""
        return sum(span.leaf for span in self.work) / self.steps

    @property
    def busy(self) -> float:
        """Milliseconds of a step in which there was work; what overlaps counts once."""
        return covered(self.work) / self.steps / 1e3

    def share(self, step: float) -> float:
        """Return the share of a step in which there was work.

        A GPU's kernels take the same with the profiler and without; a CPU's operations it holds up as it does the rest.

        Args:
            step: milliseconds of one without the profiler.
        """
        return self.busy / (step if self.on_gpu else self.elapsed)


@dataclass(frozen=True)
class Bounds:
    """What a step takes, and the least that it could; milliseconds.

    Args:
        blocks: a step's time, by block of steps, without the profiler.
        flops, moved: operations and bytes of a step of the plain network.
        peak, copying: operations and bytes a second that the machine was measured to give.
    """

    blocks: tuple[float, ...]
    flops: float
    moved: float
    peak: float
    copying: float

    @property
    def step(self) -> float:
        """The median block's."""
        return statistics.median(self.blocks)

    @property
    def arithmetic(self) -> float:
        """The least for the operations."""
        return 1e3 * self.flops / self.peak

    @property
    def memory(self) -> float:
        """The least for the bytes."""
        return 1e3 * self.moved / self.copying


def profile_of(events: Iterable[Any], steps: int, seconds: float, *, on_gpu: bool) -> Profile:
    """Return what torch's profiler has seen.

    Args:
        events: of `torch.profiler.profile.events()`.
        seconds: that the steps took.
    """
    kind = "CUDA" if on_gpu else "CPU"
    seen = [event for event in events if not event.is_user_annotation and not event.is_async]
    work = tuple(_span(event) for event in seen if event.device_type.name == kind)
    calls = Counter(event.name for event in seen if event.name.startswith(CALLS))
    return Profile(steps, on_gpu, 1e3 * seconds / steps, work, calls)


def _span(event: Any) -> Span:
    start, end = event.time_range.start, event.time_range.end
    if event.device_type.name == "CPU":
        return Span(event.name, start, end, event.self_cpu_time_total, not event.cpu_children)
    return Span(event.name, start, end, end - start)


def covered(spans: Iterable[Span]) -> float:
    """Return how long there was at least one span."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def verdict(bounds: Bounds, profile: Profile) -> str:
    """Say what bounds a step."""
    busy = profile.share(bounds.step)
    if busy < 1 - IDLE:
        idle = f"for {_share(1 - busy, 1)} of a step"
        if not profile.on_gpu:
            return f"the host: {idle} none of torch's operations is at work"
        if profile.calls[GRAPH] < profile.steps:
            return f"the host: {idle} the device has nothing to do"
        gap = 1e3 * (bounds.step - profile.busy) / profile.count
        return f"the gaps between kernels: {idle} the graph goes from one to the next, {gap:,.1f} us each time"
    name, least = max(("arithmetic", bounds.arithmetic), ("memory", bounds.memory), key=lambda each: each[1])
    if least >= EXPLAINED * bounds.step:
        return f"{name}: on this machine the plain step cannot take less than {least:,.2f} ms for it"
    what = "kernels" if profile.on_gpu else "operations"
    mean = 1e3 * profile.busy / profile.count
    return (
        f"the {what} themselves: there is work nearly all the time, {profile.count:,.0f} {what} of {mean:,.1f} us on "
        f"average, and neither arithmetic nor memory explains {_share(EXPLAINED, 1)} of it"
    )


def markdown(bounds: Bounds, profile: Profile, rows: int) -> str:
    """Return the report.

    Args:
        rows: of the most expensive kernels or operations.
    """
    step, what = bounds.step, "kernel" if profile.on_gpu else "operation"
    spread = f"{min(bounds.blocks):,.2f} to {max(bounds.blocks):,.2f}"
    busy = "busy with kernels and copies" if profile.on_gpu else "within torch's operations, profiled"
    peak, copying = f"{bounds.peak / 1e12:,.3g} TFLOP/s", f"{bounds.copying / 1e9:,.3g} GB/s"
    told = [
        ("a step", f"median of {len(bounds.blocks)} blocks", f"{step:,.2f} ({spread})", ""),
        ("the same, profiled", "", f"{profile.elapsed:,.2f}", ""),
        (busy, f"{profile.count:,.0f} {what}s", f"{profile.busy:,.2f}", _share(profile.share(step), 1)),
        (
            f"arithmetic at the measured {peak}, at least",
            f"{bounds.flops / 1e12:,.3g} TFLOP",
            *_least(bounds.arithmetic, step),
        ),
        (f"memory at the measured {copying}, at least", f"{bounds.moved / 1e9:,.3g} GB", *_least(bounds.memory, step)),
    ]
    if profile.on_gpu:
        short = [span for span in profile.work if span.own < SHORT_US]
        taken = sum(span.own for span in short) / profile.steps / 1e3
        told.append(
            (f"kernels under {SHORT_US:.0f} us", f"{len(short) / profile.steps:,.0f} kernels", *_least(taken, step))
        )
        called = profile.calls.most_common()
        told += [
            (f"the host calls {_cell(name)}", f"{count / profile.steps:,.1f} times", "", "") for name, count in called
        ]
    lines = ["| what | of a step | ms: median (least to most) | share of a step |", "|---|--:|--:|--:|"]
    lines += [f"| {' | '.join(cells)} |" for cells in told]
    lines += [
        "",
        f"It gets {bounds.flops / step * 1e3 / 1e12:,.3g} TFLOP/s. Bounded by {verdict(bounds, profile)}.",
        "",
        f"| {what} | calls a step | ms a step | share of the time in {what}s |",
        "|---|--:|--:|--:|",
    ]
    return "\n".join([*lines, *_table(profile, rows)])


def _least(milliseconds: float, step: float) -> tuple[str, str]:
    return f"{milliseconds:,.2f}", _share(milliseconds, step)


def _table(profile: Profile, rows: int) -> Sequence[str]:
    """Return the most expensive first, and all others together."""
    calls: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for span in profile.work:
        calls[span.name] += 1
        own[span.name] += span.own  # type: ignore[assignment]
    total = sum(own.values())
    shown = own.most_common(rows)
    lines = [_row(_cell(name), calls[name], time, total, profile.steps) for name, time in shown]
    if others := len(own) - len(shown):
        rest = total - sum(time for _, time in shown)
        count = sum(calls.values()) - sum(calls[name] for name, _ in shown)
        lines.append(_row(f"{others} others", count, rest, total, profile.steps))
    return lines


def _row(name: str, calls: int, time: float, total: float, steps: int) -> str:
    return f"| {name} | {calls / steps:,.1f} | {time / steps / 1e3:,.3f} | {_share(time, total)} |"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}".replace("%", " %") if whole else ""


def _cell(name: str) -> str:
    """Return a kernel's name as it fits into a table's cell."""
    short = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 3] + "..."
    return f"`{short.replace('|', '/').replace('`', '')}`"
