"""How often the verdicts are wrong and the intervals miss: `python -m benchmarks.calibration --help`.

Studies are simulated whose truth is known, and judged by the functions that `tracker compare` uses. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulated_rows import SETTINGS, Layout, Row
from tracker.significance.bootstrap import ImageResamples, Interval, bootstrap_interval
from tracker.significance.crossed import Noise, noise_of_layout
from tracker.significance.multiplicity import holm, level_at_look
from tracker.significance.paired import t_interval
from tracker.significance.verdicts import ROPE, Evidence, Verdict, judge

ROWS = 16
"""The table of the reference study: 4 models x 4 datasets."""
INTERVAL_EVERY = 4
"""Bootstrap intervals of one comparison a row are made in every fourth table only."""
EFFECTS = (0.005, 0.01)
FEWEST_SEEDS, MOST_SEEDS = 3, 20
"""Of tables that grow."""
SEED = 5


class Prepared(ImageResamples):
    """Resamples that were averaged over many layouts at once, which is faster than one by one."""

    def prepare(self, layouts: Sequence[Layout]) -> None:
        """Average all of these."""
        means = super().means(np.concatenate(layouts))  # (resamples, seeds of all)
        ends = np.cumsum([len(layout) for layout in layouts])[:-1]
        self._prepared = {id(layout): part for layout, part in zip(layouts, np.split(means, ends, axis=1), strict=True)}

    def means(self, differences: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return what was prepared for this very layout."""
        return self._prepared[id(differences)]


@dataclass
class Tally:
    """What came of many tables of one kind."""

    tables: int = 0
    wrong_tables: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    found: int = 0
    effects: int = 0
    comparisons: int = 0
    small: int = 0
    small_satterthwaite: int = 0
    intervals: int = 0
    covered: int = 0
    covered_t: int = 0
    covered_percentile: int = 0
    width: float = 0.0
    width_t: float = 0.0


def fixed(images: int, seeds: int, tables: int, effect: float = 0.0) -> Tally:
    """Judge tables of so many seeds each.

    Args:
        effect: of the last setting, in every row; 0 in all others.
    """
    rng = np.random.default_rng([SEED, images, seeds, round(1e6 * effect)])
    resamples = Prepared(images)
    tally = Tally()
    truths = [0.0] * (SETTINGS - 1) + [effect]
    for number in range(tables):
        rows = [Row(rng, images, effect).more_seeds(seeds) for _ in range(ROWS)]
        layouts = [(layout, truth) for row in rows for layout, truth in zip(row, truths, strict=True)]
        if number % INTERVAL_EVERY == 0:
            _cover(tally, layouts[SETTINGS - 1 :: SETTINGS], resamples)
        noises = [noise_of_layout(layout) for layout, _ in layouts]
        means = [float(layout.mean()) for layout, _ in layouts]
        p_values = [noise.p_value(mean) for noise, mean in zip(noises, means, strict=True)]
        _tails(tally, p_values, noises, means, [truth for _, truth in layouts])
        verdicts = judge_all([layout for layout, _ in layouts], noises, p_values, resamples, 0.05)
        wrong = [
            verdict == "worse" or (verdict == "better" and not truth)
            for verdict, (_, truth) in zip(verdicts, layouts, strict=True)
        ]
        tally.tables += 1
        tally.wrong_tables += any(wrong)
        for verdict, (_, truth) in zip(verdicts, layouts, strict=True):
            if truth:
                tally.effects += 1
                tally.found += verdict == "better"
            else:
                tally.verdicts[verdict] = tally.verdicts.get(verdict, 0) + 1
    return tally


def _cover(tally: Tally, cases: Sequence[tuple[Layout, float]], resamples: Prepared) -> None:
    resamples.prepare([layout for layout, _ in cases])
    for layout, truth in cases:
        interval = bootstrap_interval(layout, noise_of_layout(layout), resamples)
        of_seeds = t_interval(layout.mean(axis=1))
        plain = _percentile_interval(resamples.means(layout))
        tally.intervals += 1
        tally.covered += _holds(interval, truth)
        tally.covered_t += of_seeds is not None and _holds(of_seeds, truth)
        tally.covered_percentile += _holds(plain, truth)
        tally.width += interval[1] - interval[0]
        tally.width_t += of_seeds[1] - of_seeds[0] if of_seeds else 0.0


def _holds(interval: Interval, truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def _percentile_interval(means: NDArray[np.float64]) -> Interval:
    """Return the interval that is not stretched: the quantiles of the resamples themselves."""
    n = means.shape[1]
    weights = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), len(means))
    low, high = np.quantile((weights * means).sum(axis=1) / n, [0.025, 0.975])
    return float(low), float(high)


def _tails(
    tally: Tally, p_values: Sequence[float], noises: Sequence[Noise], means: Sequence[float], truths: Sequence[float]
) -> None:
    """Count small p-values where there is no effect, also those that Satterthwaite's freedom would give."""
    for p, noise, mean, truth in zip(p_values, noises, means, truths, strict=True):
        if truth == 0:
            by_seeds, by_images = noise.parts()
            variance = by_seeds + by_images
            freedom = variance**2 / (by_seeds**2 / (noise.seeds - 1) + by_images**2 / (noise.images - 1))
            tally.comparisons += 1
            tally.small += p < 0.001
            tally.small_satterthwaite += 2 * special.stdtr(freedom, -abs(mean) / variance**0.5) < 0.001


def judge_all(
    layouts: Sequence[Layout],
    noises: Sequence[Noise],
    p_values: Sequence[float],
    resamples: Prepared,
    alpha: float,
) -> list[Verdict]:
    """Judge a whole table, as `tracker compare` does.

    Where the p-value rules out better and worse, the interval is not bootstrapped but symmetric,
    which is of the same width and makes no difference to a false better or worse.
    """
    adjusted = holm(p_values)
    if beyond := [layout for layout, p in zip(layouts, adjusted, strict=True) if p < alpha]:
        resamples.prepare(beyond)
    verdicts = []
    for layout, noise, p in zip(layouts, noises, adjusted, strict=True):
        mean = float(layout.mean())
        half = noise.half_width(1 - alpha)
        interval = bootstrap_interval(layout, noise, resamples, 1 - alpha) if p < alpha else (mean - half, mean + half)
        verdicts.append(judge(Evidence(mean, noise, interval, p), ROPE, alpha))
    return verdicts


def grown(images: int, tables: int, first_look: int | None) -> int:
    """Grow tables without any effect from 3 seeds to 20, and return how many end with a false verdict.

    Whatever is undecided gets one more seed before each further look, which is more looks than
    `tracker sweep --until-decided` takes: it adds the seeds that are needed, and none where none would help.

    Args:
        first_look: the number of the first look; None for the level 0.05 at every look.
    """
    rng = np.random.default_rng([SEED, images])
    resamples = Prepared(images)
    wrong = 0
    for _ in range(tables):
        rows = [_Growing(Row(rng, images, 0.0)) for _ in range(ROWS)]
        counts = {(row, setting): FEWEST_SEEDS for row in range(ROWS) for setting in range(SETTINGS)}
        verdicts: list[Verdict] = []
        for step in range(MOST_SEEDS - FEWEST_SEEDS + 1):
            alpha = 0.05 if first_look is None else level_at_look(first_look + step)
            layouts = [rows[row].layout(setting, seeds) for (row, setting), seeds in counts.items()]
            noises = [noise_of_layout(layout) for layout in layouts]
            p_values = [noise.p_value(float(layout.mean())) for noise, layout in zip(noises, layouts, strict=True)]
            verdicts = judge_all(layouts, noises, p_values, resamples, alpha)
            growing = [key for key, verdict in zip(counts, verdicts, strict=True) if verdict == "undecided"]
            for key in growing:
                counts[key] = min(counts[key] + 1, MOST_SEEDS)
            if not growing:
                break
        wrong += "better" in verdicts or "worse" in verdicts
    return wrong


class _Growing:
    """A row and the seeds it has so far; settings get the same ones."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._known = row.more_seeds(FEWEST_SEEDS)

    def layout(self, setting: int, seeds: int) -> Layout:
        lacking = seeds - self._known.shape[1]
        if lacking > 0:
            self._known = np.concatenate([self._known, self._row.more_seeds(lacking)], axis=1)
        return self._known[setting, :seeds]


def share(count: int, total: int) -> str:
    """Print a share in percent."""
    return f"{100 * count / total:.1f}" if total else ""


def fixed_lines(images: Sequence[int], seeds: Sequence[int], tables: int) -> Iterator[str]:
    """Yield the table of studies without an effect."""
    yield f"\nNo effect; {tables} tables of {ROWS} rows x {SETTINGS} settings a line; percent.\n"
    yield (
        "| test images | seeds | tables with a false verdict | coverage | of the t interval | not stretched "
        "| width / t's | equivalent | p < 0.001, per 1,000 | the same, Satterthwaite |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for m in images:
        for n in seeds:
            t = fixed(m, n, tables)
            covered = (share(count, t.intervals) for count in (t.covered, t.covered_t, t.covered_percentile))
            tails = (f"{1000 * count / t.comparisons:.2f}" for count in (t.small, t.small_satterthwaite))
            yield (
                f"| {m:,} | {n} | {share(t.wrong_tables, t.tables)} | {' | '.join(covered)} | "
                f"{t.width / t.width_t:.2f} | {share(t.verdicts.get('equivalent', 0), t.comparisons)} | "
                f"{' | '.join(tails)} |"
            )


def effect_lines(images: Sequence[int], seeds: Sequence[int], tables: int) -> Iterator[str]:
    """Yield the table of studies in which one setting of three has an effect, in every row."""
    yield f"\nOne setting of {SETTINGS} has an effect; {tables} tables a line; percent.\n"
    yield "| test images | seeds | effect, points | found | coverage | tables with a false verdict |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for m in images:
        for n in seeds:
            for effect in EFFECTS:
                t = fixed(m, n, tables, effect)
                yield (
                    f"| {m:,} | {n} | {100 * effect:.1f} | {share(t.found, t.effects)} | "
                    f"{share(t.covered, t.intervals)} | {share(t.wrong_tables, t.tables)} |"
                )


def growth_lines(images: Sequence[int], tables: int) -> Iterator[str]:
    """Yield the table of studies without an effect that grow."""
    steps = f"{FEWEST_SEEDS} to {MOST_SEEDS}, one seed at a time"
    yield f"\nNo effect, grown from {steps}, where undecided; {tables} tables a line; percent.\n"
    yield "| test images | level of the looks | tables that end with a false verdict |\n|--:|---|--:|"
    for m in images:
        for first, name in ((1, "look 1, 2, ..."), (0, "look 0, 1, ..."), (None, "0.05 at each")):
            yield f"| {m:,} | {name} | {share(grown(m, tables, first), tables)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default="10000,300", help="sizes of the test split")
    parser.add_argument("--seeds", default="2,3,5,10", help="seeds of a table")
    parser.add_argument("--tables", type=int, default=1_000, help="without an effect, of each kind; 0 for none")
    parser.add_argument("--with-effect", type=int, default=100, help="tables with an effect, of each kind; 0 for none")
    parser.add_argument("--grown", type=int, default=200, help="studies that grow, of each kind; 0 for none")
    parser.add_argument("--grown-images", default="2000", help="sizes of their test split")
    options = parser.parse_args()
    images, seeds, of_grown = (
        [int(part) for part in text.split(",")] for text in (options.images, options.seeds, options.grown_images)
    )
    parts = (
        fixed_lines(images, seeds, options.tables) if options.tables else (),
        effect_lines(images, seeds, options.with_effect) if options.with_effect else (),
        growth_lines(of_grown, options.grown) if options.grown else (),
    )
    for line in chain(*parts):
        print(line, flush=True)


if __name__ == "__main__":
    main()
