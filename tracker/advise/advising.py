"""From a folder that was looked at to a recommendation: plan, sweep, judge, grow, recommend."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from tracker.advise.caveats import caveats
from tracker.advise.code import Code, normalization_code
from tracker.advise.definition import distinct_settings, make_study, plan_of, recipe_keys, settings_of
from tracker.advise.pace import measure_pace
from tracker.advise.planning import Plan, least_budget, make_plan, whole
from tracker.advise.recommendation import Recommendation, recommend
from tracker.advise.request import Names, Request, names_of
from tracker.advise.rounds import Outcome, Rounds
from tracker.advise.wording import duration, plan_text
from tracker.compare.outputs import judged_leaderboard
from tracker.compare.publish import publish_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.ledger.opening import existing_ledger
from tracker.study.changes import carried_on
from tracker.study.errors import DataError, DeviceError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.recipe import Recipe
from tracker.study.study import Study
from tracker.study.wording import counted
from tracker.sweep.options import SweepOptions
from tracker.sweep.plan import make_plan as set_against_ledger
from tracker.sweep.probes import StartingPoint, probe_batch
from tracker.sweep.run import prepare_sweep, run_sweep
from tracker.sweep.summary import Summary
from tracker.sweep.workers.config import CellSettings
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import bulk_reading_uri
from tracker.tracking.server.session import tracking_session
from tracker.tracking.writing import StudyTracking
from tracker.training.device import resolve_device
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.inspection.findings import Inspection
from tracker.vision.progress import Progress

METRIC = "last_acc"
"""Nothing is selected on the test images."""

LISTED = 10
"""Unreadable files named before "and N more"."""


@dataclass(frozen=True)
class Means:
    """What there is to answer with.

    Args:
        budget: seconds, with all that was spent on the same question before.
        started: instant of `time.monotonic()` from which the budget is counted.
        rope: differences below it do not matter, a fraction.
        again: plan anew, and leave the runs of the earlier plan.
        console: on stderr.
        say: told what is done.
        working: gives what shows steps of work on images.
    """

    home: Home
    budget: float
    started: float
    rope: float
    console: Console
    say: Callable[[str], None]
    working: Callable[[], AbstractContextManager[Progress]]
    device: str | None = None
    weights_dir: Path | None = None
    again: bool = False


@dataclass(frozen=True)
class Advice:
    """The answer, and what it rests on.

    Args:
        inspection: of the folder.
        plan: what each run was given.
        same: settings left out, each with the one that it equals.
        runs: how many are done, of how many.
        spent: seconds of the finished ones.
        code: of the recommended setting.
        codes: of every setting that was compared.
    """

    request: Request
    names: Names
    inspection: Inspection
    plan: Plan
    outcome: Outcome
    recommendation: Recommendation
    caveats: tuple[str, ...]
    same: dict[str, str]
    runs: tuple[int, int]
    spent: float
    rope: float
    codes: dict[str, Code] = field(default_factory=dict)

    @property
    def code(self) -> Code:
        """The code of the recommended setting."""
        return self.codes[self.recommendation.setting]


def require_trainable(inspection: Inspection, skip_unreadable: bool) -> None:
    """See that a folder can be trained on as it is.

    Raises:
        DataError: a finding says that it cannot, or files cannot be read and are not to be left out.
    """
    if inspection.errors:
        first = inspection.errors[0]
        more = f" (and {len(inspection.errors) - 1} more, above)" if len(inspection.errors) > 1 else ""
        about = f": {', '.join(first.examples)}" if first.examples else ""
        raise DataError(f"the folder cannot be trained on: {first.sentence}{about}{more}", first.cure or None)
    if inspection.unreadable and not skip_unreadable:
        lost = [f"  {path}: {reason}" for path, reason in inspection.unreadable[:LISTED]]
        if (more_files := len(inspection.unreadable) - LISTED) > 0:
            lost.append(f"  and {more_files:,} more")
        head = f"{counted(len(inspection.unreadable), 'file')} cannot be read as an image:"
        raise DataError("\n".join([head, *lost]), "replace or remove them, or leave them out: --skip-unreadable")


def advise(request: Request, inspection: Inspection, means: Means) -> Advice:
    """Spend the budget on a paired sweep of the settings and recommend one.

    The study is stored before anything is trained. Called again for the same question it goes on with it, plan
    included, where it stands.

    Raises:
        UsageError: the budget is too small for the smallest plan; says what would do.
        TrackerError: the images, the source, the device or a store cannot be used.

    Writes: the packed images, the ledger, runs in MLflow.
    """
    names = names_of(request)
    home = means.home
    with means.working() as progress:
        images = open_dataset(names.dataset, inspection.spec, home, progress=progress)
    settings, same = distinct_settings(settings_of(request), request, images)
    earlier = _stored(names.study, home)
    if earlier is not None and not means.again:
        study = earlier
        means.say(f"going on with study {study.name}")
    else:
        plan = _plan_anew(request, names, images, settings, means)
        study = make_study(request, names, inspection.spec, plan, images, settings)
        if earlier is not None:
            study = carried_on(earlier, study)
        means.say(plan_text(plan, images, len(settings), request))
    state = set_against_ledger(study, home, replace=means.again)
    before = list(state.seconds_by_cell.values())
    deadline = means.started + means.budget - sum(before)
    with ExitStack() as stack:
        sweeping = _Sweeping(request, means, deadline, stack)
        outcome = Rounds(
            deadline=deadline,
            sweep=sweeping.sweep,
            judge=sweeping.judge,
            say=means.say,
            cell_seconds=sum(before) / len(before) if before else None,
        ).run(study, missing=bool(state.to_do))
    after = set_against_ledger(outcome.study, home, replace=means.again)
    spent = list(after.seconds_by_cell.values())
    plan = plan_of(study, len(images.train), len(images.test), sum(spent) / len(spent) if spent else 0.0)
    recommendation = recommend(
        outcome.board,
        baseline=study.baseline,
        ending=outcome.ending,
        cell_seconds=outcome.cell_seconds,
        all_test_images=plan.test == len(images.test),
    )
    return Advice(
        request=request,
        names=names,
        inspection=inspection,
        plan=plan,
        outcome=outcome,
        recommendation=recommendation,
        caveats=caveats(inspection, plan, outcome.board, outcome.failures, list(same.items())),
        same=same,
        runs=(len(after.done), len(outcome.study.cells)),
        spent=sum(spent),
        rope=means.rope,
        codes={name: _code(name, request, images) for name in (*settings, *same)},
    )


def _stored(name: str, home: Home) -> Study | None:
    """Return the study as the ledger has it; one that was paused goes on."""
    ledger = existing_ledger(home)
    if ledger is None:
        return None
    with ledger:
        document = ledger.definition(name)
        if document is not None and ledger.pause_reason(name) is not None:
            ledger.resume(name)  # who asks again wants it to go on
    return None if document is None else parse_study(document, file=f"study {name} of the trial database")


def _plan_anew(request: Request, names: Names, images: ImageSet, settings: list[str], means: Means) -> Plan:
    """Measure this machine's pace on these images and choose the size of the runs.

    Raises:
        UsageError: the budget is too small for any.
        DataError: the network cannot take images of this size.
        DeviceError: they do not fit into its memory.
    """
    device = resolve_device(means.device or "auto")
    train, test, classes = len(images.train), len(images.test), len(images.classes)
    keys = recipe_keys(request, names, whole(train, test), images)
    recipe = Recipe(normalization="minmax", **keys)  # type: ignore[arg-type]
    channels = request.source.channels or images.channels
    try:
        probe_batch(recipe, images, StartingPoint(channels, None))
    except DataError as error:
        raise DataError(error.message, "store the images larger: --image-size 64, or 224") from error
    means.say(f"measuring the pace of {request.source.model} on {names.dataset} ({device})")
    try:
        pace = measure_pace(recipe, images, channels, means.home, device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device}: too little memory for {recipe.batch_size} images of {images.image_size} x {images.image_size}",
            "store the images smaller (--image-size), or take another --source or --device",
        ) from error
    left = means.started + means.budget - time.monotonic()
    counts = {"train": train, "test": test, "classes": classes}
    plan = make_plan(pace, left, len(settings), **counts)
    if plan is None:
        needed = least_budget(pace, len(settings), **counts) + means.budget - left
        raise UsageError(
            f"--budget {duration(means.budget)} is too short: the smallest comparison takes {duration(needed)} here",
            f"--budget {duration(needed)}, better three times as long; or --tune head, or a smaller --image-size",
        )
    return plan


def _code(setting: str, request: Request, images: ImageSet) -> Code:
    return normalization_code(
        setting,
        images=images.channels,
        channels=request.source.channels or images.channels,
        target=images.statistics,
        source=request.source.statistics,
    )


class _Sweeping:
    """Sweeps and judges; MLflow's server is started when the first run needs it."""

    def __init__(self, request: Request, means: Means, deadline: float, stack: ExitStack) -> None:
        self._means = means
        self._stack = stack
        self._uri: str | None = None
        self._options = SweepOptions(
            device=means.device or "auto",
            workers=None,
            weights_dir=means.weights_dir,
            replace=means.again,
            deadline=deadline,
            settings=CellSettings(keep="none"),  # short runs: nobody deploys them
        )

    def sweep(self, study: Study) -> Summary:
        means = self._means
        with means.working() as progress:
            prepared = prepare_sweep(study, means.home, self._options, say=means.say, progress=progress)
        if self._uri is None:
            self._uri = self._stack.enter_context(tracking_session(means.home, means.say))

        def publish(tracking: StudyTracking) -> None:
            publish_leaderboard(tracking, means.home)

        return run_sweep(prepared, means.home, self._uri, self._options, console=means.console, publish=publish)

    def judge(self, study: Study) -> Leaderboard:
        uri = self._uri or bulk_reading_uri(self._means.home)
        return judged_leaderboard(
            uri, self._means.home, study, read_runs(uri, study.name), METRIC, rope=self._means.rope
        )
