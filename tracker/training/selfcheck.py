"""Whether an execution computes what the plain path computes: this network, these images, this device, now.

Both are given the same weights and the same few images. What training consists of is compared piece by piece,
since a whole optimizer step cannot be: Adam divides by the gradient's size, so where a gradient is rounding
noise the step is of full length in a random direction. How far rounding alone carries a piece depends on the
network; so the plain path is run a second time, with weights moved by one rounding, and an execution may
differ from it by a few times as much as that.

What is recorded or compiled is whole steps, which cannot be taken apart: they are held against the same steps, of the
same optimizer, done one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from tracker.study.recipe import Precision, Recipe
from tracker.training.distances import distance, plainly
from tracker.training.execution import COMPILE, CUDA_GRAPH, FUSED_INPUT, PLAIN, Execution, prepare
from tracker.training.graphs import Recorder, recorder_of
from tracker.training.input import build_input
from tracker.training.splits import DeviceSplit, TrialData
from tracker.training.trial import build_optimizer, run_epochs
from tracker.vision.augmentation import draw_plan
from tracker.vision.models import Classifier

IMAGES = 8
SEED = 0
ROUNDING: dict[Precision, float] = {"fp32": 2.0**-23, "tf32": 2.0**-11, "bf16": 2.0**-8}
"""By how much of its size a weight is moved: about a rounding."""
ALLOWED: dict[Precision, float] = {"fp32": 30.0, "tf32": 3.0, "bf16": 3.0}
"""How many times as far as rounding a piece may be off. In fp32 what computes something else is off by thousands. With
fewer bits rounding alone takes a deep network's gradients so far that only gross faults show (0.1 to 1.2 times as far
was seen of what is right); so an execution has to agree in fp32 as well."""
LEAST = {"input": 0.0, "gradients": 0.02}
"""What is allowed in any case, 1e-5 for the other pieces. A ReLU's input near zero, or two pixels that are nearly the
largest under a pooling, fall on either side by rounding, and take a gradient with them: 0.003 was seen."""

STEPS_IMAGES, STEPS_EPOCHS = 13, 3
"""Two batches an epoch, the second one shorter, each done by the host, then recorded, then only replayed."""
STEPS_RATE = 1e-3
"""The highest learning rate of whole steps: with a higher one so few images may lead anywhere."""

Observation = dict[str, list[Tensor]]
"""What a path made of the images, by piece: tensors on the CPU."""


def with_usable_input(
    recipe: Recipe, classifier: Classifier, split: DeviceSplit, wanted: Execution, say: Callable[[str], None]
) -> Execution:
    """Return an execution whose input pipeline can be had for this normalization.

    A matter of milliseconds, but for the first time on a GPU, where it is compiled.

    Args:
        classifier, split, say: as of `verified`.
    """
    if FUSED_INPUT not in wanted:
        return wanted
    twin = Classifier(copy.deepcopy(classifier.normalization), nn.Identity(), "", classifier.channels)
    reason = build_input(twin.to(split.images.device), recipe.crop_padding, split.images, wanted).reason
    if reason is None:
        return wanted
    say(f"images reach the network by the plain path: {reason}")
    return wanted.without(FUSED_INPUT)


def verified(
    recipe: Recipe,
    classifier: Classifier,
    split: DeviceSplit,
    device: torch.device,
    wanted: Execution,
    say: Callable[[str], None] = lambda _: None,
) -> Execution:
    """Return the wanted execution if it does what the plain path does, else the plain path.

    Both are asked in the recipe's precision, and in fp32, which shows what rounding would hide.

    Args:
        classifier: as it is built, not yet prepared; not changed.
        split: training images, on the device.
        say: told what differs.
    """
    precisions: dict[Precision, None] = dict.fromkeys(("fp32", recipe.precision))
    for precision in precisions:
        asked = recipe.model_copy(update={"precision": precision})
        difference = check_execution(asked, classifier, split, device, wanted)
        if difference is not None:
            where = "" if precision == recipe.precision else f"in {precision} "
            say(f"trained by the plain path instead of {wanted}: {where}{difference}")
            return PLAIN
    return wanted


def check_execution(
    recipe: Recipe,
    classifier: Classifier,
    split: DeviceSplit,
    device: torch.device,
    execution: Execution,
    recorder: Recorder | None = None,
) -> str | None:
    """Compare an execution with the plain path; return None where they agree, else what differs, in a clause.

    Args:
        classifier: as it is built, not yet prepared; not changed.
        split: training images, on the device.
        recorder: of whole steps; by default the device's.
    """
    if execution == PLAIN:
        return None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _compiled_or_failed(execution):
        difference = _compare_pieces(recipe, classifier, split, device, execution)
        recorder = recorder_of(execution, device) if recorder is None else recorder
        if difference is None and (recorder is not None or COMPILE in execution):
            difference = _compare_steps(recipe, classifier, split, device, execution, recorder)
    return difference


def _compare_pieces(
    recipe: Recipe, classifier: Classifier, split: DeviceSplit, device: torch.device, execution: Execution
) -> str | None:
    """Take one step apart, and an evaluation, plainly and by an execution; return what differs."""
    few = DeviceSplit(split.images[:IMAGES], split.labels[:IMAGES])
    plain = _observe(recipe, copy.deepcopy(classifier), few, device, PLAIN)
    moved = _observe(recipe, _moved(classifier, ROUNDING[recipe.precision]), few, device, PLAIN, plain["gradients"])
    try:
        fast = _observe(recipe, copy.deepcopy(classifier), few, device, execution, plain["gradients"])
    except Exception as error:  # whatever a compiler, a kernel or a driver raises: the plain path goes on
        return _failure(error)
    return _verdict(recipe.precision, plain, moved, fast)


def _compare_steps(
    recipe: Recipe,
    classifier: Classifier,
    split: DeviceSplit,
    device: torch.device,
    execution: Execution,
    recorder: Recorder | None,
) -> str | None:
    """Train for a few whole steps and evaluate, recorded or compiled and not; return what differs."""
    count = min(STEPS_IMAGES, len(split))
    count -= count % IMAGES == 1  # BatchNorm refuses a batch of one
    few = DeviceSplit(split.images[:count], split.labels[:count])
    rate = min(recipe.lr, STEPS_RATE)
    short = recipe.model_copy(update={"batch_size": IMAGES, "epochs": STEPS_EPOCHS, "lr": rate})
    drawing = COMPILE not in execution  # compiled dropout draws other numbers

    one_by_one = execution.without(COMPILE)
    plain = _train(short, copy.deepcopy(classifier), few, device, one_by_one, drawing=drawing)
    moved = _train(short, _moved(classifier, ROUNDING[recipe.precision]), few, device, one_by_one, drawing=drawing)
    said: list[str] = []
    try:
        fast = _train(short, copy.deepcopy(classifier), few, device, execution, recorder, said.append, drawing=drawing)
    except Exception as error:
        return _failure(error)
    return said[0] if said else _verdict(recipe.precision, plain, moved, fast)


def _train(
    recipe: Recipe,
    twin: Classifier,
    few: DeviceSplit,
    device: torch.device,
    execution: Execution,
    recorder: Recorder | None = None,
    say: Callable[[str], None] = lambda _: None,
    *,
    drawing: bool,
) -> Observation:
    """Train on a few images, and say what came out.

    Args:
        twin: changed.
        recorder: of the steps; by default they are done one by one, by the execution's optimizer all the same.
        drawing: with dropout.
    """
    prepare(twin, device, execution, recipe.precision)
    for module in twin.modules():
        if isinstance(module, _DropoutNd) and not drawing:
            module.p = 0.0
    results = run_epochs(
        *(recipe, twin, TrialData(few, None, few, np.arange(len(few))), device),
        optimizer=build_optimizer(recipe, twin, execution),
        execution=execution.without(CUDA_GRAPH),
        recorder=recorder,
        rehearsals=1,
        say=say,
    )
    losses = [[result.metrics[name] for name in ("train_loss", "test_loss")] for result in results]
    return {
        "losses": [torch.tensor(losses, dtype=torch.float64)],
        "weights": [plainly(one) for one in twin.trainable()],
        "running statistics": [plainly(found) for found in _running(twin)],
    }


def _verdict(precision: Precision, plain: Observation, moved: Observation, fast: Observation) -> str | None:
    """Return which piece differs by more than rounding explains, None where none does."""
    for piece, wanted in plain.items():
        apart = distance(wanted, fast[piece])
        limit = max(ALLOWED[precision] * distance(wanted, moved[piece]), LEAST.get(piece, 1e-5))
        if not apart <= limit:  # NaN is no agreement
            return f"its {piece} differs by {apart:.1e} of its size, where rounding explains {limit:.1e}"
    return None


@contextmanager
def _compiled_or_failed(execution: Execution) -> Iterator[None]:
    """Let torch fail where it would silently go on without compiling: eager against eager says nothing."""
    if COMPILE not in execution:
        yield
        return
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, suppress_errors=False):
        yield


def _failure(error: Exception) -> str:
    if type(error).__name__ == "FailOnRecompileLimitHit":  # to name the class would import the compiler
        return "it is not compiled: torch has reached its limit of variants (torch._dynamo.config.recompile_limit)"
    return f"it failed: {type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")


def _observe(
    recipe: Recipe,
    twin: Classifier,
    split: DeviceSplit,
    device: torch.device,
    execution: Execution,
    gradients: list[Tensor] | None = None,
) -> Observation:
    """Take one step apart.

    Args:
        twin: changed.
        gradients: that the optimizer is given; by default those of the step.
    """
    prepare(twin, device, execution, recipe.precision)
    optimizer = build_optimizer(recipe, twin, execution)
    pipeline = build_input(twin, recipe.crop_padding, split.images, execution)
    plan = draw_plan(len(split), seed=SEED, epoch=0, crop_padding=recipe.crop_padding, flip=recipe.flip).to(device)
    twin.train_mode(recipe.tune)
    for module in twin.modules():
        if isinstance(module, _DropoutNd):
            module.eval()  # draws by place in memory, which a memory format changes
    torch.manual_seed(SEED)
    inputs = pipeline(split.images, plan)
    logits = twin.network(inputs)
    F.cross_entropy(logits, split.labels[plan.order]).backward()  # type: ignore[no-untyped-call]
    parameters = list(twin.trainable())
    own = [plainly(torch.zeros_like(one) if one.grad is None else one.grad) for one in parameters]
    seen: Observation = {"input": [plainly(inputs)], "output": [plainly(logits)], "gradients": own}
    seen["running statistics"] = [plainly(found) for found in _running(twin)]
    before = [plainly(one) for one in parameters]
    for parameter, gradient in zip(parameters, gradients or own, strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    optimizer.step()
    seen["update"] = [plainly(one) - old for one, old in zip(parameters, before, strict=True)]
    twin.eval()
    with torch.inference_mode():
        seen["test output"] = [plainly(twin.network(pipeline(split.images)))]
    return seen


def _moved(classifier: Classifier, rounding: float) -> Classifier:
    """Return a copy whose weights are off by a rounding, each in a direction of its own."""
    twin = copy.deepcopy(classifier)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1 + rounding * torch.randn(parameter.shape, generator=generator))
    return twin


def _running(classifier: Classifier) -> list[Tensor]:
    return [found for found in classifier.network.buffers() if isinstance(found, Tensor) and found.is_floating_point()]
