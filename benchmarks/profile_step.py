"""What bounds a training step: `python -m benchmarks.profile_step --help`.

A trial is trained on images of a dataset's shape as a sweep trains it, recorded where that is asked for. After
rehearsals, blocks of steps are timed; then a block of a second trial is trained under torch's profiler. Evaluation, and
what is done once an epoch, is in neither. Prints a Markdown report, and on stderr each number as soon as it is there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step_report import Bounds, Profile, markdown, profile_of
from tracker.bench.machine import as_in_a_worker, copy_bandwidth, facts, peak_flops, step_flops
from tracker.bench.subject import SEED, SHAPES, carried_out, make_recipe, train, usable_execution
from tracker.bench.traffic import step_traffic
from tracker.study.errors import Stopped, TrackerError
from tracker.study.recipe import PRECISIONS, Precision, Recipe
from tracker.training.device import resolve_device
from tracker.training.execution import Execution, parse_execution
from tracker.training.precision import require_precision, slowness
from tracker.vision.images import ImageSet
from tracker.vision.models import check_model
from tracker.vision.stand_ins import random_images
from tracker.vision.statistics import PUBLISHED

REHEARSED = {"cpu": 2, "cuda": 10}
"""Steps that do not count: kernels are chosen, the network is compiled, steps are recorded."""
STEPS = {"cpu": 2, "cuda": 20}


@dataclass(frozen=True)
class Subject:
    """What is profiled."""

    recipe: Recipe
    images: ImageSet
    device: torch.device
    execution: Execution

    def train(self, due: Mapping[int, Callable[[], None]]) -> tuple[str, ...]:
        """Train a new trial until all is done that is due; return what it said.

        Args:
            due: what is to be done, once the device has done all that it was given, before the step of that number.
        """
        said: list[str] = []
        asked = iter(range(max(due) + 1))

        def stop() -> bool:
            if (number := next(asked)) in due:
                self.wait()
                due[number]()
            return number == max(due)

        with suppress(Stopped):
            next(train(self.recipe, self.images, self.device, self.execution, said.append, stop))
        return tuple(said)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def timed(subject: Subject, rehearsed: int, steps: int, times: int) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the milliseconds of a step in each block of steps, and what the trial said."""
    moments: list[float] = []
    ends = range(rehearsed, rehearsed + steps * times + 1, steps)
    said = subject.train(dict.fromkeys(ends, lambda: moments.append(time.perf_counter())))
    return tuple(1e3 * (after - before) / steps for before, after in pairwise(moments)), said


def profiled(subject: Subject, rehearsed: int, steps: int, trace: Path | None = None) -> Profile:
    """Return what is done in some steps.

    Writes: `trace`, if given: for Perfetto, or chrome://tracing.
    """
    on_gpu = subject.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    if on_gpu:
        # The profiler has to have been there before a graph is recorded, and to stay: torch.profiler._utils.
        os.environ.setdefault("TEARDOWN_CUPTI", "0")
        with profile(activities=activities):
            torch.zeros((), device=subject.device)
    else:
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it complains of a GPU that is not there
    profiler = profile(activities=activities)
    moments: list[float] = []

    def start() -> None:
        profiler.start()
        moments.append(time.perf_counter())

    def end() -> None:
        moments.append(time.perf_counter())
        profiler.stop()

    subject.train({rehearsed: start, rehearsed + steps: end})
    if trace is not None:
        profiler.export_chrome_trace(str(trace))
    events = profiler.events()  # type: ignore[no-untyped-call]
    found = profile_of(events, steps, moments[1] - moments[0], on_gpu=on_gpu)
    if not found.work:
        raise SystemExit("the profiler saw no kernels: the driver may let root alone profile (ERR_NVGPUCTRPERM)")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the report."""
    options = _options(arguments)
    with as_in_a_worker():
        print(_report(options))


def _report(options: argparse.Namespace) -> str:
    device, precision = options.device, options.precision
    rehearsed, steps = REHEARSED[device.type], options.steps or STEPS[device.type]
    recipe = make_recipe(options.model, options.dataset, options.batch_size, precision)
    shape = SHAPES[options.dataset]
    execution = usable_execution(recipe, shape, device, parse_execution(options.accelerate, device), notice)
    held: Precision = "fp32" if slowness(precision, device) else precision
    machine, peak, copying = facts(device), peak_flops(device, held), copy_bandwidth(device)
    batches = rehearsed + steps * options.times + 1  # the last one is asked about only
    few = replace(shape, train=batches * recipe.batch_size, test=1)
    images = random_images(few, SEED, options.dataset, PUBLISHED[options.dataset])
    subject = Subject(recipe, images, device, execution)

    notice(f"timing {options.times} blocks of {steps} steps")
    blocks, said = timed(subject, rehearsed, steps, options.times)
    for text in said:
        notice(text)
    notice("ms a step: " + ", ".join(f"{block:,.2f}" for block in blocks))
    moved = step_traffic(recipe, shape.size, shape.classes).of(recipe.batch_size)
    flops = step_flops(recipe, shape.size, shape.classes) * recipe.batch_size
    bounds = Bounds(blocks, flops, moved, peak, copying)
    notice(f"profiling {steps} steps")
    found = profiled(subject, rehearsed, steps, options.trace)
    head = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{options.model} on {options.dataset}'s shape, batch {recipe.batch_size}, {precision}; "
        f"engine: {carried_out(execution, said)}; {steps} steps a block",
    ]
    return "\n".join([*head, "", markdown(bounds, found, options.rows)])


def notice(text: str) -> None:
    """Tell what is done meanwhile."""
    print(text, file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="of torchvision (default: %(default)s)")
    parser.add_argument("--dataset", default="cifar10", choices=list(SHAPES), help="whose shape (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="as of tracker sweep (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", choices=list(PRECISIONS), help="default: %(default)s")
    parser.add_argument("--accelerate", default="auto", help="as of tracker sweep (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of a block, and profiled (default: 20 on CUDA, 2 on a CPU)")
    parser.add_argument("--times", type=int, default=5, help="blocks that are timed (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=20, help="of the most expensive (default: %(default)s)")
    parser.add_argument("--trace", type=Path, metavar="FILE.json", help="keep the profile, for Perfetto")
    options = parser.parse_args(arguments)
    try:
        check_model(options.model)
        options.device = resolve_device(options.device)
        require_precision(options.precision, options.device)
        parse_execution(options.accelerate, options.device)
    except TrackerError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
