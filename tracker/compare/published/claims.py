"""The reference study's claims, one by one, each held against its own results.

The claims are those of its README, in its order and in our words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest

from tracker.compare.published.findings import BEYOND, Difference, Findings
from tracker.compare.published.shifts import AS_PRINTED, distance, in_bgr
from tracker.compare.wording import interval_text, points
from tracker.significance.verdicts import ROPE
from tracker.vision.images import Statistics

TINY = "tiny-imagenet-200"

Holding = Literal["holds", "does not hold", "cannot be said"]


@dataclass(frozen=True)
class Claim:
    """A claim of the reference study, checked against its own results.

    Args:
        where: in its README.
        claim: in one sentence.
        holding: whether its results say so.
        ground: the numbers that rests on, in words.
        numbers: the same by name; accuracies and differences are fractions.
    """

    where: str
    claim: str
    holding: Holding
    ground: str
    numbers: dict[str, float]


def check(findings: Findings) -> tuple[Claim, ...]:
    """Hold every claim against the results."""
    return (
        _most_cases(findings),
        _cifar10(findings),
        _cifar100_and_svhn(findings),
        _tiny_imagenet(findings),
        _farther_from_normal(findings),
        _minmax(findings),
        _strong_influence(findings),
        _which_cases(findings),
    )


def _most_cases(findings: Findings) -> Claim:
    rows, wins = len(findings.differences), findings.wins
    p = float(binomtest(wins, rows).pvalue)
    return Claim(
        where="Figure 1",
        claim="Normalizing with the statistics of the fine-tuning dataset gives higher accuracy in most cases.",
        holding="cannot be said" if p >= 0.05 else "holds" if 2 * wins > rows else "does not hold",
        ground=f"finetune is above pretrain in {wins} of {rows} rows, which chance gives too (p = {p:.2f}), and best "
        f"of the four in {findings.bests['finetune']}; {findings.beyond} of its differences to pretrain are beyond the "
        f"noise of the test split (largest |z| {abs(findings.largest_z):.2f}).",
        numbers={"wins": wins, "rows": rows, "p": p, "best": findings.bests["finetune"]},
    )


def _cifar10(findings: Findings) -> Claim:
    wins, rows, better = _count(findings, "cifar10")
    named = ", ".join(f"{difference.model} {points(difference.delta)}" for difference in better)
    return Claim(
        where="text on Table 2",
        claim="On CIFAR10 finetune is better than pretrain in three of four models.",
        holding="holds" if wins == 3 else "does not hold",
        ground=f"In its own Table 2 it is {wins} of {rows} ({named}).",
        numbers={"wins": wins, "rows": rows},
    )


def _cifar100_and_svhn(findings: Findings) -> Claim:
    cifar100, rows, _ = _count(findings, "cifar100")
    svhn, _, _ = _count(findings, "svhn")
    zs = [abs(each.z) for each in findings.differences if each.dataset in ("cifar100", "svhn")]
    return Claim(
        where="text on Table 2",
        claim="On CIFAR100 and on SVHN finetune is better than pretrain in two of four models.",
        holding="holds" if cifar100 == svhn == 2 else "does not hold",
        ground=f"{cifar100} and {svhn} of {rows}, as a count; {sum(z > BEYOND for z in zs)} of these differences are "
        f"beyond the noise of the test split (largest |z| {max(zs):.2f}).",
        numbers={"wins_cifar100": cifar100, "wins_svhn": svhn, "rows": rows, "largest_z": max(zs)},
    )


def _tiny_imagenet(findings: Findings) -> Claim:
    wins, rows, _ = _count(findings, TINY)
    effect = findings.effect("finetune", TINY)
    p = float(binomtest(wins, rows).pvalue)
    return Claim(
        where="text on Table 2",
        claim="On Tiny ImageNet finetune is better than pretrain in all models.",
        holding="holds" if wins == rows else "does not hold",
        ground=f"{wins} of {rows}, as a count; by chance all four agree once in {round(1 / p)} times, no |z| is "
        f"above {abs(effect.largest_z):.2f}, and the mean effect is {points(effect.pooled.mean)} points "
        f"{interval_text(effect.pooled.interval)}.",
        numbers={"wins": wins, "rows": rows, "p": p, "largest_z": effect.largest_z, "effect": effect.pooled.mean},
    )


def _farther_from_normal(findings: Findings) -> Claim:
    by_dataset = {each.dataset: each.statistics for each in findings.shifts if each.normalization == "pretrain"}
    distances = {dataset: distance(statistics) for dataset, statistics in by_dataset.items()}
    place = sorted(distances, key=lambda dataset: -distances[dataset]).index(TINY) + 1
    told = ", ".join(f"{dataset} {far:.2f}" for dataset, far in distances.items())
    return Claim(
        where="Table 1",
        claim="Under ImageNet's statistics Tiny ImageNet is farther from the normal distribution than the other "
        "datasets, which is why finetune is better there.",
        holding="holds" if place == 1 else "does not hold",
        ground=f"Its row of Table 1, {_text(AS_PRINTED[TINY])}, is that of B, G, R images: with the channels reversed "
        f"the published statistics give {_text(in_bgr(TINY))}, in R, G, B {_text(by_dataset[TINY])}. Distances from "
        f"mean 0 and std 1 are then {told}: Tiny ImageNet's is number {place} of {len(distances)} (its means are the "
        f"nearest, its stds the farthest); as printed it was {distance(AS_PRINTED[TINY]):.2f}.",
        numbers={**distances, "as_printed": distance(AS_PRINTED[TINY]), "place": place},
    )


def _minmax(findings: Findings) -> Claim:
    effect, best = findings.effect("minmax"), findings.bests["minmax"]
    return Claim(
        where="text on Table 3",
        claim="minmax, which does not standardize, is surprisingly good in some cases.",
        holding="holds" if best else "does not hold",
        ground=f"It is best of the four in {best} of {effect.pooled.rows} rows and above pretrain in {effect.wins}; "
        f"over all of them its mean difference to pretrain is {points(effect.mean_delta)} points, its mean effect "
        f"{points(effect.pooled.mean)} {interval_text(effect.pooled.interval)}.",
        numbers={"best": best, "wins": effect.wins, "mean_delta": effect.mean_delta, "effect": effect.pooled.mean},
    )


def _strong_influence(findings: Findings) -> Claim:
    minmax, finetune, instance = (findings.effect(setting) for setting in ("minmax", "finetune", "instance"))
    ends = [*minmax.pooled.interval, *finetune.pooled.interval]
    small = all(abs(end) < ROPE for end in ends)
    within = "both within" if small else "not both within"
    return Claim(
        where="conclusion",
        claim="Results are strongly influenced by whether images are normalized to a normal distribution.",
        holding="does not hold" if small else "cannot be said",
        ground=f"minmax, which is not, differs from pretrain by {points(minmax.pooled.mean)} points "
        f"{interval_text(minmax.pooled.interval)}, and finetune, which is exactly, by {points(finetune.pooled.mean)} "
        f"{interval_text(finetune.pooled.interval)}: {within} {100 * ROPE:g} points. Only instance stands apart, "
        f"{points(instance.pooled.mean)} {interval_text(instance.pooled.interval)}, and it standardizes every image.",
        numbers={
            "minmax": minmax.pooled.mean,
            "finetune": finetune.pooled.mean,
            "instance": instance.pooled.mean,
        },
    )


def _which_cases(findings: Findings) -> Claim:
    rows = len(findings.differences)
    return Claim(
        where="motivation",
        claim="It can be seen in which cases finetune and pretrain differ.",
        holding="cannot be said" if not findings.beyond else "holds",
        ground=f"{findings.beyond} of {rows} differences are beyond the noise of the test split, where about "
        f"{0.05 * rows:.1f} would be by chance; the mean is {points(findings.effect('finetune').mean_delta)} points.",
        numbers={"beyond": findings.beyond, "rows": rows, "mean_delta": findings.effect("finetune").mean_delta},
    )


def _count(findings: Findings, dataset: str) -> tuple[int, int, list[Difference]]:
    """Return in how many of a dataset's rows finetune is better, how many those are, and which."""
    rows = [difference for difference in findings.differences if difference.dataset == dataset]
    better = [difference for difference in rows if difference.delta > 0]
    return len(better), len(rows), better


def _text(statistics: Statistics) -> str:
    """Print channel statistics, `(0.03, 0.12, 0.18) (1.08, 1.09, 1.16)`."""
    return " ".join(f"({', '.join(f'{value:.2f}' for value in part)})" for part in (statistics.mean, statistics.std))
