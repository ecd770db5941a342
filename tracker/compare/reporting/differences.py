"""The section of a report that says how settings differ from the baseline, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracker.compare.comparison import Comparison
from tracker.compare.reporting.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Section,
    Sentences,
    Table,
    Tone,
    without_repeats,
)
from tracker.compare.scores import Leaderboard, Row
from tracker.compare.wording import (
    comparisons_legend,
    comparisons_of,
    interval_text,
    p_text,
    points,
    verdict_text,
)

Field = tuple[Column, Callable[[Comparison], Cell]]
"""A column of a table of comparisons, and what stands in it."""

OF_Z = "z: of two accuracies, as if measured on independent images."


def differences_section(board: Leaderboard, forest: Sequence[Block], heatmap: Sequence[Block]) -> Section:
    """Return every comparison: differences with intervals and verdicts, and folded away what other methods say.

    Args:
        forest: stands below the table.
        heatmap: stands last.
    """
    if not comparisons_of(board):
        return Section("differences", "Differences", ())
    blocks = (_differences(board), *forest, Details("The same by other methods", _beside(board)), *heatmap)
    return Section("differences", "Differences, and how sure they are", blocks)


def _differences(board: Leaderboard) -> Table:
    compared = [comparison for _, _, comparison in comparisons_of(board)]
    fields: list[Field] = [
        (Column("difference", number=True), lambda each: Cell(points(each.mean))),
        (Column("95 % interval", number=True), lambda each: Cell(interval_text(each.interval))),
    ]
    tested = any(each.p_adjusted is not None for each in compared)
    one = not tested and any(each.z is not None for each in compared)
    if tested:
        fields.append((Column("p (Holm)", number=True), lambda each: Cell(p_text(each.p_adjusted))))
    elif one:
        fields.append((Column("z", number=True), _z))
    fields.append((Column("verdict"), lambda each: Cell(verdict_text(each), tone=_tone(each))))
    return _table(
        *("differences", f"Difference to {board.baseline} in points, paired by seed", board, fields),
        legend=" ".join([comparisons_legend(board), *([OF_Z] if one else [])]),
    )


def _beside(board: Leaderboard) -> tuple[Block, ...]:
    compared = [comparison for _, _, comparison in comparisons_of(board)]
    fields: list[Field] = [
        (Column("pairs", number=True), lambda each: Cell(str(each.pairs))),
        (Column("images", number=True), lambda each: Cell(f"{each.images:,}" if each.images else "")),
    ]
    legend = ["Images: test images whose predictions are stored."]
    if any(each.noise is not None for each in compared):
        fields.append((Column("t interval", number=True), lambda each: Cell(interval_text(each.t_interval))))
        fields.append((Column("p", number=True), lambda each: Cell(p_text(each.p))))
        legend.append("Student's t interval of the mean over seeds, 95 %, in points; p before Holm.")
    if any(each.z is not None for each in compared):
        fields.append((Column("z", number=True), _z))
        legend.append(OF_Z)
    if any(each.sign_flip is not None for each in compared):
        fields.append((Column("sign flip p", number=True), lambda each: Cell(p_text(each.sign_flip))))
    over = _table("tests", "By other methods", board, fields, " ".join(legend))
    return (over, _mcnemar(board))


def _mcnemar(board: Leaderboard) -> Block:
    tests = [
        (number, row, setting, seed, test)
        for number, (row, setting, comparison) in enumerate(comparisons_of(board))
        for seed, test in comparison.mcnemar.items()
    ]
    if not tests:
        return Sentences("No McNemar tests: predictions of the runs are not stored.")
    labels = without_repeats(
        [[*map(str, row.label.values()), setting, str(seed)] for _, row, setting, seed, _ in tests]
    )
    return Table(
        name="mcnemar",
        title="McNemar's exact test, seed by seed",
        columns=(
            *map(Column, (*board.label_keys, "setting")),
            *(Column(head, number=True) for head in ("seed", "difference", "gained", "lost", "p")),
        ),
        rows=tuple(
            (
                *map(Cell, label),
                Cell(points(delta.by_seed[seed]) if (delta := row.scores[setting].delta) else ""),
                Cell(f"{test.gained:,}"),
                Cell(f"{test.lost:,}"),
                Cell(p_text(test.p)),
            )
            for label, (_, row, setting, seed, test) in zip(labels, tests, strict=True)
        ),
        blocks=tuple(n for n in range(1, len(tests)) if tests[n][0] != tests[n - 1][0]),
        legend=f"Gained: test images that only the setting is right about; lost: that only {board.baseline} is. "
        "p is of one pair of networks, not adjusted.",
    )


def _table(name: str, title: str, board: Leaderboard, fields: Sequence[Field], legend: str) -> Table:
    """Lay out one line a comparison; a row's label stands at its first."""
    lines = []
    starts = []
    above: Row | None = None
    for number, (row, setting, comparison) in enumerate(comparisons_of(board)):
        if row is not above:
            starts.append(number)
        label = [""] * len(row.label) if row is above else [str(value) for value in row.label.values()]
        above = row
        lines.append((*map(Cell, label), Cell(setting), *(shown(comparison) for _, shown in fields)))
    return Table(
        name=name,
        title=title,
        columns=(*map(Column, (*board.label_keys, "setting")), *(column for column, _ in fields)),
        rows=tuple(lines),
        blocks=tuple(starts[1:]) if len(lines) > len(starts) else (),
        legend=legend,
    )


def _z(comparison: Comparison) -> Cell:
    return Cell("" if comparison.z is None else f"{comparison.z:+.2f}")


def _tone(comparison: Comparison) -> Tone:
    if comparison.blocked:
        return "gap"
    return "open" if comparison.verdict == "undecided" else comparison.verdict
