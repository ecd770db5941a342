"""What is printed: the look through the folder, and the answer."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracker.advise.advising import METRIC, Advice
from tracker.advise.source import ChosenSource
from tracker.advise.wording import duration, used_text
from tracker.compare.scores import Leaderboard, Score
from tracker.compare.terminal import STYLE_BESIDE
from tracker.compare.wording import interval_text, percent, points, spread, verdict_text
from tracker.study.printing import printable
from tracker.study.wording import counted
from tracker.vision.images import Statistics
from tracker.vision.inspection.findings import Finding, Inspection

CLASSES = 12
"""Classes listed; of more, the largest and the smallest."""
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def look_view(inspection: Inspection, source: ChosenSource) -> RenderableType:
    """Return the look: classes, sizes, statistics beside the source's, findings with their cures."""
    parts: list[RenderableType] = [Text(_headline(inspection), style="bold"), Text(), _classes(inspection)]
    if inspection.sizes is not None:
        parts += [Text(), *map(Text, _stored(inspection))]
    if inspection.statistics is not None:
        parts += [Text(), _statistics(inspection.statistics, inspection.shift, source)]
    for finding in inspection.findings:
        parts += [Text(), *_finding(finding)]
    return Group(*parts, Text())


def _headline(inspection: Inspection) -> str:
    how = "its own split" if inspection.split == "own" else "a fifth of each class held out"
    return (
        f"{printable(str(inspection.root))}: {counted(inspection.train + inspection.test, 'image')} of "
        f"{counted(len(inspection.classes), 'class', 'classes')}, {inspection.train:,} to train on and "
        f"{inspection.test:,} to test on ({how})"
    )


def _classes(inspection: Inspection) -> Table:
    table = _table("class", "train", "test")
    classes = list(inspection.classes)
    if len(classes) > CLASSES:
        ordered = sorted(classes, key=lambda count: -count.images)
        half = CLASSES // 2
        classes = [*ordered[:half], *ordered[-half:]]
    for number, count in enumerate(classes):
        if number == CLASSES // 2 and len(inspection.classes) > CLASSES:
            table.add_row(Text(f"... {len(inspection.classes) - CLASSES:,} more", style=STYLE_BESIDE), "", "")
        table.add_row(Text(count.name), f"{count.train:,}", f"{count.test:,}")
    return table


def _stored(inspection: Inspection) -> Iterator[str]:
    sizes = inspection.sizes
    assert sizes is not None
    if sizes.distinct == 1:
        pixels = "x".join(map(str, sizes.median))
    else:
        pixels = " / ".join("x".join(map(str, size)) for size in (sizes.smallest, sizes.median, sizes.largest))
        pixels += " (smallest / median / largest)"
    kinds = ", ".join(f"{name} {count:,}" for name, count in inspection.formats.items())
    modes = ", ".join(f"{name} {count:,}" for name, count in inspection.modes.items())
    yield f"pixels: {pixels}; files: {kinds}; modes: {modes}"
    size = inspection.image_size
    yield f"stored as {size}x{size}, {'gray' if inspection.channels == 1 else 'RGB'}"


def _statistics(own: Statistics, shift: Statistics | None, source: ChosenSource) -> Table:
    """Return mean and deviation beside the source's, and their distance in the source's deviations."""
    table = _table("statistics, of values in [0, 1]", "mean", "std")
    table.add_row("these images", _numbers(own.mean), _numbers(own.std))
    if source.statistics is not None:
        table.add_row(str(source), _numbers(source.statistics.mean), _numbers(source.statistics.std))
    if shift is not None:
        table.add_row("distance, in its std", _numbers(shift.mean, "+.2f"), _numbers(shift.std, ".2f", "x"))
    return table


def _numbers(values: tuple[float, ...], form: str = ".4f", unit: str = "") -> str:
    return "  ".join(f"{value:{form}}{unit}" for value in values)


def _finding(finding: Finding) -> Iterator[RenderableType]:
    yield Text.assemble((f"{finding.severity}: ", STYLES[finding.severity]), finding.sentence)
    if finding.examples:
        more = ", ..." if finding.count > len(finding.examples) else ""
        yield Padding(Text(f"{', '.join(finding.examples)}{more}", style=STYLE_BESIDE), (0, 0, 0, 2))
    if finding.cure:
        yield Padding(Text(f"cure: {finding.cure}"), (0, 0, 0, 2))


def advice_view(advice: Advice) -> RenderableType:
    """Return the answer: recommendation, table, basis, caveats, ways on, code."""
    told = advice.recommendation
    parts: list[RenderableType] = [Text(told.headline, style="bold"), Text()]
    if advice.outcome.board is not None:
        parts += [_table_of(advice.outcome.board), Text()]
    parts += [Text(sentence) for sentence in (*told.unjudged, told.basis) if sentence]
    if told.ways_on:
        parts += [Text(), Text("What would decide more:", style="bold"), *_points(told.ways_on)]
    parts += [Text(), Text("Keep in mind:", style="bold"), *_points(advice.caveats)]
    parts += [Text(), Text(f"{told.setting}, in torchvision:", style="bold"), Text()]
    parts += [Text(f"    {line}".rstrip(), no_wrap=True, overflow="ignore") for line in str(advice.code).splitlines()]
    parts += [Text(), Text(_footer(advice), style=STYLE_BESIDE)]
    return Group(*parts)


def _table_of(board: Leaderboard) -> Table:
    table = _table("setting", "n", "accuracy", "difference", "95 % interval", "verdict")
    for name, score in board.rows[0].scores.items():
        baseline = name == board.baseline
        comparison = score.comparison
        table.add_row(
            name,
            str(score.n),
            _accuracy(score),
            "" if comparison is None else points(comparison.mean),
            "" if comparison is None else interval_text(comparison.interval),
            "(baseline)" if baseline else "not judged" if comparison is None else verdict_text(comparison),
        )
    return table


def _accuracy(score: Score) -> str:
    return "-" if score.mean is None else f"{percent(score.mean)} {spread(score)}".rstrip()


def _points(sentences: tuple[str, ...]) -> Iterator[RenderableType]:
    for sentence in sentences:
        line = Table.grid(padding=(0, 1))
        line.add_row("-", Text(sentence))
        yield line


def _footer(advice: Advice) -> str:
    rope = 100 * advice.rope
    done, runs = advice.runs
    return (
        f"study {advice.names.study}: {used_text(advice.plan)}; "
        f"{done if done == runs else f'{done} of {runs}'} runs, {duration(advice.spent)} of training. "
        f"All of it: tracker compare --study {advice.names.study} --metric {METRIC} --rope {rope:g}"
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = number and column != "verdict"
        table.add_column(column, no_wrap=bool(number), justify="right" if numeric else "left", overflow="fold")
    return table
