"""A report as data: every comparison as CSV, and everything as JSON. Nothing is rounded."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from io import StringIO
from typing import Any

from tracker import __version__
from tracker.compare.data import document
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.protocol import Counts, definition
from tracker.compare.scores import Leaderboard
from tracker.compare.wording import comparisons_of

KIND = "norm-tracker report"
"""By which a folder is known to hold an earlier report."""
SCHEMA = 1
"""Raised when a key of the JSON changes its meaning or goes away."""

COLUMNS = (
    "pairs", "difference", "basis", "low", "high", "t_low", "t_high", "p", "p_adjusted", "sign_flip_p", "z", "images",
    "variance_between_seeds", "variance_from_images", "verdict", "further_seeds", "obstacles", "by_seed", "mcnemar",
)  # fmt: skip


def comparisons_csv(board: Leaderboard) -> str:
    """Render every comparison as a line.

    Columns: study, metric, baseline; one a label; normalization; pairs; difference (a fraction);
    basis and ends of its 95 % interval; t_low, t_high (95 %); p, p_adjusted (Holm), sign_flip_p; z;
    images; the two variances of the noise; verdict; further_seeds; obstacles, separated by `; `;
    by_seed, as `seed=difference` separated by spaces; mcnemar, as `seed=gained/lost/p`. What does
    not exist is empty.
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["study", "metric", "baseline", *board.label_keys, "normalization", *COLUMNS])
    for row, setting, each in comparisons_of(board):
        delta = row.scores[setting].delta
        writer.writerow(
            [board.study, board.metric, board.baseline, *row.label.values(), setting]
            + [each.pairs, each.mean, each.basis, *(each.interval or (None, None)), *(each.t_interval or (None, None))]
            + [each.p, each.p_adjusted, each.sign_flip, each.z, each.images or None]
            + ([each.noise.between_seeds, each.noise.from_images] if each.noise else [None, None])
            + ["not comparable" if each.blocked else each.verdict, each.further_seeds, "; ".join(each.obstacles)]
            + [" ".join(f"{seed}={value!r}" for seed, value in delta.by_seed.items()) if delta else None]
            + [" ".join(f"{seed}={t.gained}/{t.lost}/{t.p!r}" for seed, t in each.mcnemar.items())]
        )
    return file.getvalue()


def json_text(content: Content, pictures: tuple[str, ...]) -> str:
    """Render everything as one JSON object; `report` tells its keys."""
    return json.dumps(_finite(report(content, pictures)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def report(content: Content, pictures: tuple[str, ...]) -> dict[str, Any]:
    """Return a report as plain JSON values.

        kind, schema, version   what this is, and which program wrote it
        study                   its definition, folders of images replaced by FOLDER
        source                  where results come from that were not made here, else ""
        leaderboards            as `tracker compare --format json`, the report's own metric first
        channels                [{dataset, setting, source, mean, std, origin}]; setting "" is the images in [0, 1]
        datasets                [{dataset, train, test, val, classes, shape, fingerprints}]
        models                  [{model, parameters, backbone, features}]
        costs                   [{label, setting, seconds, n, devices}]
        shift                   {baseline, sentence, references, compared, measures: [{metric, label, sentence,
                                association: {n, rho, p, p_adjusted} or null, points}]}
        claims                  of the reference study: [{where, claim, holding, ground, numbers}]
        protocol                {recipe, seeds, versions, commits, devices, sources, finished, last}; what runs
                                say is {VALUE: number of runs}
        history                 {rows, columns, curves: [{row, column, setting, values: [[fraction an epoch]]}]} or null
        figures                 names; figures/NAME.svg and figures/NAME.png
        commands                what makes this again

    Args:
        pictures: the names of the figures.
    """
    protocol = content.protocol
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "version": __version__,
        "study": definition(content.study),
        "source": content.source,
        "leaderboards": [document(board) for board in (content.board, *content.others)],
        "channels": [asdict(each) for each in content.channels],
        "datasets": [
            {
                "dataset": facts.dataset,
                "train": facts.train,
                "test": facts.test,
                "val": facts.val,
                "classes": facts.classes,
                "shape": facts.shape,
                "fingerprints": facts.fingerprints,
            }
            for facts in content.datasets
        ],
        "models": [asdict(each) for each in content.models],
        "costs": [
            {
                "label": dict(cost.row.label),
                "setting": cost.setting,
                "seconds": cost.seconds,
                "n": cost.n,
                "devices": cost.devices,
            }
            for cost in content.costs
        ],
        "shift": asdict(content.shift),
        "claims": [asdict(claim) for claim in content.claims],
        "protocol": {
            "recipe": dict(protocol.recipe),
            "seeds": protocol.seeds,
            "versions": {name: _counts(counts) for name, counts in protocol.versions},
            "commits": _counts(protocol.commits),
            "devices": _counts(protocol.devices),
            "sources": _counts(protocol.sources),
            "finished": protocol.finished,
            "last": protocol.last,
        },
        "history": _history(content),
        "figures": list(pictures),
        "commands": content.commands,
    }


def _counts(counts: Counts) -> dict[str, int]:
    return dict(counts)


def _history(content: Content) -> dict[str, Any] | None:
    history = content.history
    if history is None:
        return None
    return {
        "rows": history.rows,
        "columns": history.columns,
        "curves": [
            {"row": row, "column": column, "setting": setting, "values": [list(values) for values in curves]}
            for (row, column), panel in history.curves.items()
            for setting, curves in panel.items()
        ],
    }


def _finite(value: Any) -> Any:
    """Return plain values with null for what is no number: JSON has none of the others."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
