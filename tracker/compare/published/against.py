"""A study's own results beside the published ones, configuration by configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import stats

from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.published.results import SEED, TEST_IMAGES, published_results, published_study
from tracker.compare.scores import Row, Score
from tracker.significance.paired import sampling_variance
from tracker.study.errors import UsageError
from tracker.study.metrics import SELECTION
from tracker.study.recipe import Recipe, Scalar
from tracker.study.shifts import AS_IS
from tracker.study.study import REPLICATE_AXIS, Cell, Study

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord

METRIC = "best_acc"
"""All that was published."""

LEVEL = 0.95


@dataclass(frozen=True)
class Departure:
    """A key of the recipe that is not the reference study's.

    Args:
        ours: every value it takes among the configurations compared.
        reference: its value there.
    """

    key: str
    ours: tuple[Scalar, ...]
    reference: Scalar


@dataclass(frozen=True)
class Beside:
    """One configuration of a study beside its published result. Fractions, all of them.

    Args:
        label: as in the leaderboard: model, dataset, and what else varies.
        n: measured seeds, of
        expected: so many.
        mean, sd: over them; None without any, or with less than two.
        published: one seed's.
        difference: ours minus theirs; None without any of ours.
        sampling: variance that the test images give the difference, the two accuracies taken as
            independent binomials; None where the number of ours is not known.
        between_seeds: variance that the seeds give it: ours over n, and theirs, which had one; None
            for fewer than two seeds, which tell nothing of it.
        half_width: of the difference's 95 % interval.
        departures: keys of its recipe that are not the reference study's, with our value.
    """

    label: Mapping[str, Scalar]
    normalization: str
    n: int
    expected: int
    mean: float | None
    sd: float | None
    published: float
    difference: float | None
    sampling: float | None
    between_seeds: float | None
    half_width: float | None
    departures: Mapping[str, Scalar]

    @property
    def z(self) -> float | None:
        """The difference over the standard deviation of its noise."""
        if self.difference is None or not self.sampling:
            return None
        return self.difference / math.sqrt(self.sampling + (self.between_seeds or 0.0))

    @property
    def within(self) -> bool | None:
        """Whether the difference is within its noise; None where that is not known."""
        if self.difference is None or self.half_width is None:
            return None
        return abs(self.difference) <= self.half_width


@dataclass(frozen=True)
class Against:
    """A study against the published results.

    Args:
        study: its name.
        metric, selection: what is compared.
        results: the configurations that the reference study has.
        others: the names of those it does not have.
        departures: in what their recipes depart from it.
    """

    study: str
    metric: str
    selection: str
    results: tuple[Beside, ...]
    others: tuple[str, ...]
    departures: tuple[Departure, ...]

    @property
    def compared(self) -> int:
        """How many configurations have a difference whose noise is known."""
        return sum(result.within is not None for result in self.results)

    @property
    def beyond(self) -> int:
        """How many of them are beyond the noise."""
        return sum(result.within is False for result in self.results)


def against_published(study: Study, runs: Iterable[RunRecord]) -> Against:
    """Lay a study's results beside the published ones.

    A configuration has its counterpart if model, dataset and normalization are the same and every
    parameter is trained; what else its recipe does otherwise is told.

    Args:
        study: the grid as it is defined now.
        runs: the study's runs, as for a leaderboard.

    Raises:
        UsageError: none has a counterpart; the message names what the reference study has.
    """
    board = build_leaderboard(study, runs, METRIC)
    cells = {cell.id: cell for cell in study.cells}
    published = {(each.model, each.dataset, each.normalization): each.best_acc for each in published_results()}
    theirs = {_key(cell.recipe): cell for cell in published_study().cells}
    results, others = [], []
    for row in board.rows:
        for score in row.scores.values():
            if not score.outcomes:
                continue
            cell = cells[score.outcomes[0].cell_id]
            key = _key(cell.recipe)
            if key in published and cell.recipe.tune == "full" and cell.recipe.shift == AS_IS:
                results.append(_beside(row, score, cell, published[key], theirs[key]))
            else:
                others.append(cell.configuration_name)
    if not results:
        raise _no_overlap(study)
    return Against(
        study=study.name,
        metric=METRIC,
        selection=SELECTION[METRIC],
        results=tuple(results),
        others=tuple(others),
        departures=_departures(results, next(iter(theirs.values()))),
    )


def _key(recipe: Recipe) -> tuple[str, str, str]:
    return recipe.model, recipe.dataset, recipe.normalization


def _beside(row: Row, score: Score, cell: Cell, published: float, theirs: Cell) -> Beside:
    images = min((outcome.test_images or 0 for outcome in score.outcomes if outcome.value is not None), default=0)
    between = None if score.sd is None else score.sd**2 * (1 / score.n + 1)
    sampling = None
    if score.mean is not None and images:
        sampling = sampling_variance(score.mean, images) + sampling_variance(
            published, TEST_IMAGES[cell.recipe.dataset]
        )
    return Beside(
        label=row.label,
        normalization=cell.recipe.normalization,
        n=score.n,
        expected=score.expected,
        mean=score.mean,
        sd=score.sd,
        published=published,
        difference=None if score.mean is None else score.mean - published,
        sampling=sampling,
        between_seeds=between,
        half_width=None if sampling is None else _half_width(sampling, between, score.n),
        departures=_departing(cell.recipe, theirs.recipe),
    )


def _half_width(sampling: float, between: float | None, seeds: int) -> float:
    """Return half the width of the difference's interval: the squares of its parts' half widths, added up.

    The part of the images is known well, that of the seeds as badly as a few seeds tell it, so each
    has its own quantile. Satterthwaite's one quantile for the sum is narrower, and too narrow: without
    any difference 11 % of them would be beyond it with two seeds, 7 % with three.

    Source: Zou and Donner, Statistics in Medicine 27 (2008), for adding up the squares.
    """
    square = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2 * sampling
    if between is not None:
        square += float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) ** 2 * between
    return math.sqrt(square)


def _departing(ours: Recipe, theirs: Recipe) -> dict[str, Scalar]:
    """Return what a recipe does otherwise; a dataset's statistics play no part but under `finetune`."""
    idle = {REPLICATE_AXIS} if ours.normalization == "finetune" else {REPLICATE_AXIS, "statistics"}
    return {
        key: getattr(ours, key)
        for key in Recipe.model_fields
        if key not in idle and getattr(ours, key) != getattr(theirs, key)
    }


def _departures(results: list[Beside], reference: Cell) -> tuple[Departure, ...]:
    keys = [key for key in Recipe.model_fields if any(key in result.departures for result in results)]
    same = {key: getattr(reference.recipe, key) for key in keys}
    return tuple(
        Departure(key, tuple(dict.fromkeys(each.departures.get(key, same[key]) for each in results)), same[key])
        for key in keys
    )


def _no_overlap(study: Study) -> UsageError:
    reference = published_study().axes
    has = "; ".join(f"{key} {', '.join(map(str, reference[key]))}" for key in ("model", "dataset", "normalization"))
    return UsageError(
        f"no configuration of study {study.name} is among the published ones",
        f"the reference study has: {has}; tune full, seed {SEED}",
    )
