"""The sections that say under what circumstances: what networks are fed with, how they learn, cost, protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from tracker.compare.reporting.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Details,
    Items,
    Picture,
    Section,
    Sentences,
    Table,
    without_repeats,
)
from tracker.compare.reporting.channels import Channels, DatasetFacts
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.cost import Cost, duration
from tracker.compare.reporting.protocol import Counts, Protocol, definition
from tracker.compare.reporting.results import block_starts, labels_of
from tracker.compare.scores import Leaderboard
from tracker.study.wording import counted

Pictures = Mapping[str, Picture]


def circumstance_sections(content: Content, pictures: Pictures) -> list[Section]:
    """Return what stands behind the numbers."""
    sections = [
        _fed(content),
        _shift(content, pictures),
        Section("learning", "Learning", _shown(pictures, "history")),
        _cost(content, pictures),
        _protocol(content),
        _notes(content.board),
        _again(content),
    ]
    return [section for section in sections if section.blocks]


def _fed(content: Content) -> Section:
    blocks: list[Block] = []
    if content.channels:
        blocks.append(_channels(content.channels))
    absent = [facts.dataset for facts in content.datasets if facts.statistics is None]
    if absent:
        blocks.append(
            Sentences(
                f"The images of {', '.join(absent)} that the runs used are not on this machine, and statistics of "
                "theirs are not published: what each normalization makes of them is not in this report."
            )
        )
    return Section("channels", "What the network is fed with", tuple(blocks))


def _shift(content: Content, pictures: Pictures) -> Section:
    shift = content.shift
    blocks: list[Block] = [Sentences(shift.sentence), *_shown(pictures, "shift")]
    if shift.measures:
        blocks.append(Items(tuple(measure.sentence for measure in shift.measures)))
    return Section("shift", "Shift against gain", tuple(blocks))


def _channels(known: Sequence[Channels]) -> Table:
    minmax = any(each.setting == "minmax" for each in known)  # the images as they are, already
    channels = [each for each in known if each.setting or not minmax]
    several = any(each.source for each in channels)
    labels = without_repeats([[each.dataset, _fed_by(each)] for each in channels])
    exact = {each.origin for each in channels}
    ground = {
        frozenset(["exact"]): "Counted from all training images.",
        frozenset(["published"]): "From published statistics; the images are not on this machine.",
    }.get(frozenset(exact), "Counted from all training images, or published statistics where these are not here.")
    instance = any(each.setting == "instance" for each in channels)
    return Table(
        name="channels",
        title="Mean and standard deviation of each channel",
        columns=(Column("dataset"), Column("normalization"), Column("mean", number=True), Column("SD", number=True)),
        rows=tuple(
            (*map(Cell, label), Cell(_numbers(each.mean)), Cell(_numbers(each.std)))
            for label, each in zip(labels, channels, strict=True)
        ),
        blocks=tuple(n for n in range(1, len(channels)) if channels[n].dataset != channels[n - 1].dataset),
        legend=ground
        + " Under pretrain, 0 and 1 would be images like the source's."
        + " In brackets the source." * several
        + " Under instance every image has mean 0 and deviation 1 by itself, images of one colour excepted." * instance
        + " The reference study's Table 1.",
    )


def _fed_by(each: Channels) -> str:
    if not each.setting:
        return "none: values in [0, 1]"
    return f"{each.setting} ({each.source})" if each.source else each.setting


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value + 0.0:.2f}".replace("-0.00", "0.00") for value in values)


def _cost(content: Content, pictures: Pictures) -> Section:
    blocks: list[Block] = []
    if content.models:
        blocks.append(
            Table(
                name="models",
                title="Networks",
                columns=(
                    Column("model"),
                    *(Column(head, number=True) for head in ("parameters", "without head", "inputs of the head")),
                ),
                rows=tuple(
                    (
                        Cell(each.model),
                        Cell(f"{each.parameters:,}", f"{each.parameters / 1e6:.1f} M"),
                        Cell(f"{each.backbone:,}"),
                        Cell(f"{each.features:,}"),
                    )
                    for each in content.models
                ),
                legend="With 3 input channels and ImageNet's 1,000 classes, as published; a study has its own head.",
            )
        )
    if content.costs:
        blocks.append(_times(content.board, content.costs))
    blocks += _shown(pictures, "cost")
    return Section("cost", "Networks and cost", tuple(blocks))


def _times(board: Leaderboard, costs: Sequence[Cost]) -> Table:
    by_place = {(id(cost.row), cost.setting): cost for cost in costs}
    devices = sorted({device for cost in costs for device in cost.devices})
    where = f" On {devices[0]}." if len(devices) == 1 else ""
    if len(devices) > 1:
        where = (
            f" Trained on {counted(len(devices), 'kind')} of device ({'; '.join(devices)}): times differ by that too."
        )
    return Table(
        name="times",
        title="Training time of one run",
        columns=(*map(Column, board.label_keys), *(Column(name, number=True) for name in board.settings)),
        rows=tuple(
            (
                *map(Cell, label),
                *(
                    Cell(duration(cost.seconds)) if (cost := by_place.get((id(row), name))) else Cell()
                    for name in board.settings
                ),
            )
            for label, row in zip(labels_of(board.rows), board.rows, strict=True)
        ),
        blocks=block_starts(board.rows),
        legend="Mean over seeds of the sum of a run's epochs, training and evaluation; interruptions, waiting and "
        f"loading are not counted.{where}",
    )


def _protocol(content: Content) -> Section:
    protocol = content.protocol
    states = Counter(outcome.state for outcome in content.board.outcomes)
    cells = ", ".join(f"{count} {state}" for state, count in states.most_common())
    lines = [
        ("cells", cells),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        *_said("source", protocol.sources, protocol),
        *_said("device", protocol.devices, protocol),
        *_said("commit", protocol.commits, protocol),
        *(line for name, counts in protocol.versions for line in _said(name, counts, protocol)),
    ]
    blocks: list[Block] = []
    if content.source:
        blocks.append(Sentences(f"Results as published: {content.source}. None of them was made here."))
    blocks.append(
        Table(
            name="recipe",
            title="Recipe",
            columns=(Column("key"), Column("value")),
            rows=tuple((Cell(key), Cell(value)) for key, value in protocol.recipe),
            legend="Several values: an axis of the study.",
        )
    )
    blocks.append(
        Table(
            name="circumstances",
            title="Circumstances",
            columns=(Column("what"), Column("value")),
            rows=tuple((Cell(what), Cell(value)) for what, value in lines),
            legend="As the finished runs say; a commit with + had changes that are in no commit."
            if any(commit.endswith("+") for commit, _ in protocol.commits)
            else "As the finished runs say.",
        )
    )
    if any(facts.train or facts.classes or facts.fingerprints for facts in content.datasets):
        blocks.append(_datasets(content.datasets))
    return Section("protocol", "Protocol", tuple(blocks))


def _said(what: str, counts: Counts, protocol: Protocol) -> list[tuple[str, str]]:
    """Return a line for what runs say; each value with its number of runs where they do not all say the same."""
    if not counts:
        return []
    if len(counts) == 1 and counts[0][1] == protocol.finished:
        return [(what, counts[0][0])]
    return [(what, "; ".join(f"{value} ({counted(count, 'run')})" for value, count in counts))]


def _datasets(datasets: Sequence[DatasetFacts]) -> Table:
    heads = ("training", "validation", "test", "classes")
    return Table(
        name="datasets",
        title="Images",
        columns=(
            Column("dataset"),
            *(Column(head, number=True) for head in heads),
            Column("size", number=True),
            Column("fingerprint"),
        ),
        rows=tuple(
            (
                Cell(facts.dataset),
                *(
                    Cell("" if number is None else f"{number:,}")
                    for number in (facts.train, facts.val, facts.test, facts.classes)
                ),
                Cell("" if facts.shape is None else " × ".join(map(str, facts.shape))),
                Cell(", ".join(facts.fingerprints)),
            )
            for facts in datasets
        ),
        legend="Images that the runs used; size as channels, height, width. The fingerprint is a hash of all packed "
        "images and labels.",
    )


def _notes(board: Leaderboard) -> Section:
    return Section("notes", "Notes", (Items(board.notes),) if board.notes else ())


def _again(content: Content) -> Section:
    text = yaml.safe_dump(definition(content.study), sort_keys=False, allow_unicode=True, width=100)
    blocks: list[Block] = [Code("\n".join(content.commands), "bash")]
    if not content.source:
        blocks.append(
            Details(
                f"The study's definition: as `{content.study.name}.yaml` it makes the same cells",
                (Code(text, "yaml"),),
            )
        )
    return Section("again", "To make it again", tuple(blocks))


def _shown(pictures: Pictures, name: str) -> tuple[Block, ...]:
    return (pictures[name],) if name in pictures else ()
