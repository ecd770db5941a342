"""How cost grows, as a document, as tables, and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracker.bench.report import asked_for, cut_short, used
from tracker.bench.scaling import TERMS, Term
from tracker.figures.scaling import Growth, cost_scaling
from tracker.study.recipe import Precision
from tracker.training.execution import Execution


def scaling_document(
    terms: Sequence[Term],
    machine: Mapping[str, str],
    model: str,
    dataset: str,
    execution: Execution,
    settings: Mapping[str, int],
    precision: Precision = "fp32",
) -> dict[str, Any]:
    """Return everything as plain values.

    Args:
        machine: as of `tracker.bench.machine.facts`.
        execution: what was asked for.
        settings: batch_size, batches, times.
    """
    return {
        "machine": dict(machine),
        "model": model,
        "dataset": dataset,
        "asked": str(execution),
        "precision": precision,
        "settings": dict(settings),
        "ended_early": None,
        "terms": [
            {
                "term": term.name,
                "what": TERMS[term.name],
                "exponents": list(term.exponents),
                "exponent": statistics.median(term.exponents) if term.exponents else None,
                "verdict": term.verdict,
                "points": [
                    {
                        "value": point.value,
                        "execution": point.execution,
                        "seconds": list(point.seconds),
                        "median": point.median,
                    }
                    for point in term.points
                ],
            }
            for term in terms
        ],
    }


def scaling_markdown(found: Mapping[str, Any]) -> str:
    """Return a document as Markdown: the machine, each point, and the exponent of each term."""
    points = [point for term in found["terms"] for point in term["points"]]
    one = {point["execution"] for point in points} == {found["asked"]}
    lines = [
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        f"{found['model']} around {found['dataset']}'s shape; {asked_for(found['asked'], one)}",
        f"precision {found['precision']}; " + ", ".join(f"{name} {value}" for name, value in found["settings"].items()),
        "",
        f"| term | value |{'' if one else ' execution |'} s: median (least to most) | times the first | if linear |",
        f"|---|--:|{'' if one else '---|'}--:|--:|--:|",
    ]
    for term in found["terms"]:
        for point in term["points"]:
            first = term["points"][0]
            column = "" if one else f" {used(point['execution'], found['asked'])} |"
            lines.append(
                f"| {term['term']} | {point['value']:,} |{column} "
                f"{point['median']:,.3f} ({min(point['seconds']):,.3f} to {max(point['seconds']):,.3f}) | "
                f"{point['median'] / first['median']:.2f} | {point['value'] / first['value']:.2f} |"
            )
    lines.append("")
    lines += [f"{term['term']}: {told(term)}" for term in found["terms"]]
    lines += ["", *(f"{term['term']}: {term['what']}." for term in found["terms"])]
    if found["ended_early"] is not None:
        lines.append(cut_short(found["ended_early"]))
    return "\n".join(lines)


def told(term: Mapping[str, Any]) -> str:
    """Say how a term's cost grows: the fitted exponent, its least and most over rounds, and what that means."""
    if term["exponent"] is None:
        return str(term["verdict"])
    least, most = min(term["exponents"]), max(term["exponents"])
    return f"exponent {term['exponent']:.2f} ({least:.2f} to {most:.2f}): {term['verdict']}"


def scaling_picture(found: Mapping[str, Any], path: Path) -> list[Path]:
    """Draw a document.

    Args:
        path: ends in .png or .svg.

    Returns:
        What was written.
    """
    panels = [
        Growth(
            what=term["what"].partition(";")[0].partition(",")[0],
            values=[point["value"] for point in term["points"]],
            seconds=[point["seconds"] for point in term["points"]],
            told=told(term),
        )
        for term in found["terms"]
    ]
    title = (
        f"{found['model']} around {found['dataset']}'s shape, {found['precision']}, batch "
        f"{found['settings']['batch_size']}: {found['machine']['device']}"
    )
    return cost_scaling(panels, path, title)
