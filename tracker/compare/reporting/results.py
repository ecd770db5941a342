"""The sections that say what came out: leaderboard, differences, finetune against pretrain, the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker.compare.answer import answer, limits
from tracker.compare.published.claims import Claim
from tracker.compare.reporting.blocks import (
    Block,
    Cell,
    Column,
    Items,
    Mark,
    Picture,
    Section,
    Table,
    Tone,
    without_repeats,
)
from tracker.compare.reporting.content import OWN, PRETRAINED, Content
from tracker.compare.reporting.differences import differences_section
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.compare.wording import (
    footer,
    gaps_text,
    interval_text,
    percent,
    points,
    record_text,
    spread,
    subtitle,
)
from tracker.significance.verdicts import Verdict

FOOTER = {
    "mean delta": "Mean delta: mean of the rows' differences to the baseline, in points, paired by seed.",
    "W-T-L": "W-T-L: rows won, tied and lost against it.",
    "optimism": "Optimism: best_acc - last_acc, what picking the epoch on the test split adds, in points.",
}
"""What the lines mean that sum a leaderboard up."""

POOLED = ("mean effect", "95 % interval", "SD of rows")
TABLE_3 = "The reference study's Table 3."

Pictures = Mapping[str, Picture]
"""The figures that can be drawn, by name."""


def result_sections(content: Content, pictures: Pictures) -> list[Section]:
    """Return what came out, most important first."""
    board = content.board
    sections = [
        _claims(content.claims),
        _leaderboard(board),
        differences_section(board, _shown(pictures, "forest"), _shown(pictures, "heatmap")),
    ]
    if content.pair is not None:
        sections.append(_pair(content.pair))
    sections.append(_overall(content, pictures))
    return [section for section in sections if section.blocks]


def labels_of(rows: Sequence[Row]) -> list[list[str]]:
    """Return the labels of a table's rows as shown, repeats left out."""
    return without_repeats([[str(value) for value in row.label.values()] for row in rows])


def block_starts(rows: Sequence[Row]) -> tuple[int, ...]:
    """Return the rows at which another model begins; none where each has one row."""
    firsts = [next(iter(row.label.values())) for row in rows]
    if len(set(firsts)) == len(firsts):
        return ()
    return tuple(number for number in range(1, len(firsts)) if firsts[number] != firsts[number - 1])


def _claims(claims: Sequence[Claim]) -> Section:
    if not claims:
        return Section("claims", "Claims", ())
    tones: dict[str, Tone] = {"holds": "better", "does not hold": "worse"}
    table = Table(
        name="claims",
        title="What the study claims, held against its own results",
        columns=(Column("claim", prose=True), Column("verdict"), Column("ground", prose=True)),
        rows=tuple(
            (Cell(each.claim), Cell(each.holding, tone=tones.get(each.holding, "open")), Cell(each.ground))
            for each in claims
        ),
        blocks=tuple(range(1, len(claims))),
    )
    return Section("claims", "Its claims", (table,))


def _leaderboard(board: Leaderboard) -> Section:
    heads = [f"{name} (baseline)" if name == board.baseline else name for name in board.settings]
    several = any(score.expected > 1 for row in board.rows for score in row.scores.values())
    value = "mean ± sample standard deviation over seeds; " if several else ""
    sums = footer(board)
    explained = [FOOTER[label] for label, _ in sums if label in FOOTER]
    blank = [Cell()] * (len(board.label_keys) - 1)
    table = Table(
        name="leaderboard",
        title=f"{board.metric}: {board.selection}",
        columns=(*map(Column, board.label_keys), *(Column(head, number=True) for head in heads)),
        rows=tuple(
            (*map(Cell, label), *map(_score, row.scores.values()))
            for label, row in zip(labels_of(board.rows), board.rows, strict=True)
        ),
        footer=tuple(
            (Cell(label), *blank, *(Cell(texts[setting]) for setting in board.settings)) for label, texts in sums
        ),
        blocks=block_starts(board.rows),
        legend=" ".join(
            [f"Percent, {value}{subtitle(board)}. Best of the row bold, second underlined.", *explained, TABLE_3]
        ),
    )
    return Section("leaderboard", "Accuracy", (table,))


def _score(score: Score) -> Cell:
    mark: Mark = "best" if score.is_best else "second" if score.is_second else ""
    if score.mean is None:
        return Cell(aside=gaps_text(score), tone="gap")
    gaps = gaps_text(score)
    aside = "; ".join(filter(None, (spread(score), gaps)))
    return Cell(percent(score.mean), aside, mark, "gap" if gaps else "")


def _pair(board: Leaderboard) -> Section:
    table = Table(
        name="finetune-pretrain",
        title="The dataset's own statistics against the source's",
        columns=(
            *map(Column, board.label_keys),
            *(Column(head, number=True) for head in (OWN, PRETRAINED, "difference", "95 % interval")),
        ),
        rows=tuple(
            (
                *map(Cell, label),
                *(_plain(row.scores[name]) for name in (OWN, PRETRAINED)),
                Cell(points(delta.mean) if (delta := row.scores[OWN].delta) else ""),
                Cell(interval_text(comparison.interval) if (comparison := row.scores[OWN].comparison) else ""),
            )
            for label, row in zip(labels_of(board.rows), board.rows, strict=True)
        ),
        blocks=block_starts(board.rows),
        legend=f"Percent; difference {OWN} - {PRETRAINED} in points, paired by seed. The reference study's Table 2.",
    )
    return Section("finetune-pretrain", f"{OWN} against {PRETRAINED}", (table,))


def _plain(score: Score) -> Cell:
    return Cell(tone="gap", aside=gaps_text(score)) if score.mean is None else Cell(percent(score.mean))


def _overall(content: Content, pictures: Pictures) -> Section:
    board = content.board
    blocks: list[Block] = []
    told = [name for name in board.settings if board.summaries[name].delta_rows]
    if told and len(board.rows) > 1:
        blocks.append(_summaries(board, told))
    blocks += _shown(pictures, "ranks")
    notes = [note for note in limits(board) if not (content.source and "`tracker sweep" in note)]
    if notes:
        blocks.append(Items(tuple(notes)))
    if content.others:
        blocks.append(_by_metric(board, content.others))
        blocks.append(Items(tuple(f"{other.metric}: {answer(other)[0]}" for other in content.others)))
    return Section("overall", "Over the whole table", tuple(blocks))


def _summaries(board: Leaderboard, settings: Sequence[str]) -> Table:
    verdicts: tuple[Verdict, ...] = ("better", "equivalent", "undecided", "worse")
    pooled = any(board.summaries[name].effect is not None for name in settings)
    lines = []
    for name in settings:
        summary = board.summaries[name]
        effect = summary.effect
        lines.append(
            (
                Cell(name),
                *(Cell(str(summary.verdicts.get(verdict, 0))) for verdict in verdicts),
                Cell(record_text(summary.wins, summary.ties, summary.losses)),
                *([Cell(points(effect.mean if effect else None))] if pooled else []),
                *([Cell(interval_text(effect.interval if effect else None))] if pooled else []),
                *([Cell(percent(effect.between_rows) if effect else "")] if pooled else []),
            )
        )
    return Table(
        name="overall",
        title=f"Each setting against {board.baseline}, over {len(board.rows)} rows",
        columns=(
            Column("setting"),
            *(Column(verdict, number=True) for verdict in verdicts),
            *(Column(head, number=True) for head in ("W-T-L", *(POOLED if pooled else ()))),
        ),
        rows=tuple(lines),
        legend="In how many rows a setting has which verdict. W-T-L: rows won, tied and lost."
        + " Mean effect: random effects over rows, in points; SD of rows: of their true effects. Rows that share a "
        "dataset are not independent, so the interval is rather too narrow." * pooled,
    )


def _by_metric(board: Leaderboard, others: Sequence[Leaderboard]) -> Table:
    return Table(
        name="metrics",
        title=f"Mean difference to {board.baseline} by how the epoch is picked",
        columns=(
            Column("metric"),
            Column("epoch"),
            *(Column(name, number=True) for name in board.settings if name != board.baseline),
        ),
        rows=tuple(
            (
                Cell(each.metric),
                Cell(each.selection),
                *(
                    Cell(points(summary.mean_delta))
                    for name, summary in each.summaries.items()
                    if name != board.baseline
                ),
            )
            for each in (board, *others)
        ),
        legend="Points, mean over rows.",
    )


def _shown(pictures: Pictures, name: str) -> list[Block]:
    return [pictures[name]] if name in pictures else []
