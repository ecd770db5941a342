"""The judgement, and a study against the published results, as JSON. Nothing is rounded."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tracker.compare.published.against import Against
from tracker.compare.published.claims import Claim
from tracker.compare.published.findings import BEYOND, Findings
from tracker.compare.published.results import SEED, SOURCE
from tracker.compare.published.shifts import AS_PRINTED, distance

SCHEMA = 1
"""Raised when a key changes its meaning or goes away."""


def judgement_document(findings: Findings, claims: tuple[Claim, ...]) -> dict[str, Any]:
    """Return the judgement as plain JSON values; accuracies and differences are fractions.

    source, seed
    differences   Table 2: [{model, dataset, finetune, pretrain, delta, z}]
    largest_z, beyond (of them, |z| > beyond_z), beyond_z, wins, mean_delta
    effects       [{setting, dataset ("all" for all), mean_delta, pooled: {mean, interval, between_rows, rows},
                  wins, ties, losses, largest_z, beyond}]
    shifts        Table 1: [{dataset, normalization, mean, std, per_image, distance}]
    shifts_as_printed  under pretrain: {DATASET: {mean, std}}
    claims        [{where, claim, holding, ground, numbers}]
    undecided, comparisons, bests
    """
    return {
        "source": SOURCE,
        "seed": SEED,
        "differences": [asdict(difference) for difference in findings.differences],
        "largest_z": findings.largest_z,
        "beyond": findings.beyond,
        "beyond_z": BEYOND,
        "wins": findings.wins,
        "mean_delta": findings.mean_delta,
        "effects": [asdict(effect) for effect in findings.effects],
        "shifts": [
            {
                "dataset": shift.dataset,
                "normalization": shift.normalization,
                **asdict(shift.statistics),
                "per_image": shift.per_image,
                "distance": distance(shift.statistics),
            }
            for shift in findings.shifts
        ],
        "shifts_as_printed": {dataset: asdict(printed) for dataset, printed in AS_PRINTED.items()},
        "claims": [asdict(claim) for claim in claims],
        "undecided": findings.undecided,
        "comparisons": findings.comparisons,
        "bests": findings.bests,
    }


def against_document(against: Against) -> dict[str, Any]:
    """Return a study against the published results as plain JSON values; all numbers are fractions or variances.

    schema, study, metric, selection, source, seed
    results       [{label, normalization, n, expected, mean, sd, published, difference, sampling, between_seeds,
                  half_width, z, within, departures: {KEY: our value}}]; what is not known is null
    compared, beyond
    others        names of configurations that the reference study does not have
    departures    [{key, ours: [values], reference}]
    """
    return {
        "schema": SCHEMA,
        "study": against.study,
        "metric": against.metric,
        "selection": against.selection,
        "source": SOURCE,
        "seed": SEED,
        "results": [
            {**asdict(result), "label": dict(result.label), "z": result.z, "within": result.within}
            for result in against.results
        ],
        "compared": against.compared,
        "beyond": against.beyond,
        "others": list(against.others),
        "departures": [asdict(departure) for departure in against.departures],
    }


def dumped(content: Any) -> str:
    """Print JSON as every command does."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
