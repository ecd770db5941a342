"""What is shown of the reference study, before it has a format: titled tables of texts, with sentences below."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.compare.published.against import Against, Beside
from tracker.compare.published.claims import Claim
from tracker.compare.published.findings import BEYOND, Difference, Effect, Findings
from tracker.compare.published.results import SEED, SOURCE
from tracker.compare.published.shifts import Shift, distance
from tracker.compare.wording import interval_text, percent, points, record_text
from tracker.significance.verdicts import FIRST_SEEDS
from tracker.study.recipe import Scalar
from tracker.study.wording import counted

LISTED = 8
"""Names told in one sentence before "and N more"; JSON has all of them."""


@dataclass(frozen=True)
class Best:
    """A number that stands out in its row."""

    text: str


Text = str | Best


@dataclass(frozen=True)
class Section:
    """One titled table.

    Args:
        header: of its columns.
        lines: as many texts each.
        words: how many of the first columns are words, set to the left; numbers are set to the right.
        sentences: below it.
        prose: whether every column is words that may break.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[Text, ...], ...]
    words: int
    sentences: tuple[str, ...] = ()
    prose: bool = False


def judgement_sections(findings: Findings, claims: tuple[Claim, ...]) -> list[Section]:
    """Return what is shown below the published leaderboard, which is Table 3."""
    return [_table_2(findings), _effects(findings), _table_1(findings), _claims(findings, claims)]


def against_sections(against: Against) -> list[Section]:
    """Return a study beside the published results."""
    keys = tuple(against.results[0].label)
    header = (*keys, "normalization", "ours", "SD", "n", "published", "difference", "95 % noise", "z", "verdict")
    return [
        Section(
            title=f"{against.study} against the published results, {against.metric}: {against.selection}",
            header=header,
            lines=tuple(_beside(result) for result in against.results),
            words=len(keys) + 1,
            sentences=_about_against(against),
        )
    ]


def _table_2(findings: Findings) -> Section:
    def line(each: Difference) -> tuple[Text, ...]:
        pair: list[Text] = [percent(each.finetune), percent(each.pretrain)]
        place = 0 if each.delta > 0 else 1
        pair[place] = Best(percent(max(each.finetune, each.pretrain)))
        return each.model, each.dataset, *pair, points(each.delta), f"{each.z:+.2f}"

    rows = len(findings.differences)
    return Section(
        title="Table 2: finetune against pretrain, percent and points",
        header=("model", "dataset", "finetune", "pretrain", "delta", "z"),
        lines=tuple(line(each) for each in findings.differences),
        words=2,
        sentences=(
            "z: as if the two accuracies were measured on independent test images. Predictions were not published, "
            "so no paired test can be made, and the noise between seeds comes on top, unknown.",
            f"Largest |z| {abs(findings.largest_z):.2f}; beyond {BEYOND}: {findings.beyond} of {rows}. Mean delta "
            f"{points(findings.mean_delta)} points; finetune is above pretrain in {findings.wins} of {rows} rows.",
        ),
    )


def _effects(findings: Findings) -> Section:
    def line(each: Effect) -> tuple[Text, ...]:
        return (
            each.setting,
            each.dataset,
            points(each.mean_delta),
            points(each.pooled.mean),
            interval_text(each.pooled.interval),
            record_text(each.wins, each.ties, each.losses),
            f"{each.largest_z:+.2f}",
            str(each.beyond),
        )

    everywhere, svhn = findings.effect("instance"), findings.effect("instance", "svhn")
    return Section(
        title="The settings against pretrain, over all rows and by dataset, points",
        header=("setting", "dataset", "mean", "pooled", "95 % interval", "W-T-L", "largest z", "beyond"),
        lines=tuple(line(each) for each in findings.effects),
        words=2,
        sentences=(
            "Mean: every row counts the same. Pooled: by a random-effects model, rows weighted by the noise of their "
            f"test split and taken as independent. Beyond: rows with |z| above {BEYOND}.",
            f"instance is {points(everywhere.mean_delta)} points on average, on SVHN {points(svhn.mean_delta)}.",
        ),
    )


def _table_1(findings: Findings) -> Section:
    def line(each: Shift) -> tuple[Text, ...]:
        mean, std = (
            " ".join(f"{value:5.2f}" for value in part) for part in (each.statistics.mean, each.statistics.std)
        )
        return (
            each.dataset,
            each.normalization,
            mean,
            std,
            f"{distance(each.statistics):.2f}",
        )

    return Section(
        title="Table 1: channel statistics under each normalization, R, G, B",
        header=("dataset", "normalization", "mean", "std", "distance"),
        lines=tuple(line(each) for each in findings.shifts),
        words=2,
        sentences=(
            "From the published statistics; under instance every single image is so. Distance: from mean 0 and std 1, "
            "2-Wasserstein between normal distributions, root mean square over channels.",
            "As printed, three numbers of cifar100 and svhn under pretrain are 0.01 off; the row of tiny-imagenet-200 "
            "is that of B, G, R images: see the claim on Table 1.",
        ),
    )


def _claims(findings: Findings, claims: tuple[Claim, ...]) -> Section:
    return Section(
        title="The claims, held against these numbers",
        header=("verdict", "claim", "on what number"),
        lines=tuple((each.holding, f"{each.claim} ({each.where})", each.ground) for each in claims),
        words=3,
        sentences=(
            f"No comparison can be judged better or worse: {findings.undecided} of {findings.comparisons} are "
            f"undecided, since one seed ({SEED}) tells nothing of the noise between seeds. At least "
            f"{FIRST_SEEDS - 1} further seeds of every cell would be needed.",
            f"Source: {SOURCE}; the epoch of every accuracy was picked on the test split.",
        ),
        prose=True,
    )


def _beside(result: Beside) -> tuple[Text, ...]:
    verdict = {True: "within noise", False: "beyond noise", None: "not measured" if not result.n else "noise unknown"}
    return (
        *map(str, result.label.values()),
        result.normalization,
        "" if result.mean is None else percent(result.mean),
        "" if result.sd is None else percent(result.sd),
        str(result.n) if result.n == result.expected else f"{result.n}/{result.expected}",
        percent(result.published),
        points(result.difference),
        "" if result.half_width is None else f"±{percent(result.half_width)}",
        "" if result.z is None else f"{result.z:+.2f}",
        verdict[result.within],
    )


def _about_against(against: Against) -> tuple[str, ...]:
    compared = against.compared
    sentences = [
        f"Percent and points; published: one seed, {SEED}, from {SOURCE}.",
        "Noise: of both test scores, taken as independent binomials, and where we have two seeds or more, between "
        "seeds: of our mean, and of their one. Where both were tested on the same images it is rather too wide.",
    ]
    if compared:
        sentences.append(
            f"Beyond noise: {against.beyond} of {compared}; about {0.05 * compared:.1f} would be by chance alone."
        )
    if any(result.n == 1 for result in against.results):
        sentences.append(
            "Where n = 1 the noise between seeds is not known and not counted: beyond noise is then beyond that of the "
            "test images only."
        )
    if against.departures:
        told = "; ".join(
            f"{each.key} {', '.join(map(_value, each.ours))} (reference {_value(each.reference)})"
            for each in against.departures
        )
        sentences.append(f"The recipe is not the reference's, so a difference need not be noise or error: {told}.")
    else:
        sentences.append("The recipe is the reference's.")
    if against.others:
        more = f" and {len(against.others) - LISTED} more" if len(against.others) > LISTED else ""
        listed = ", ".join(against.others[:LISTED]) + more
        sentences.append(f"Not in the reference: {counted(len(against.others), 'configuration')} ({listed}).")
    return tuple(sentences)


def _value(value: Scalar) -> str:
    return {None: "all", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else f"{value}"
