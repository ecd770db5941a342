"""The leaderboard as data: CSV, one line a row and setting, and JSON with everything. Nothing is rounded."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from tracker.compare.answer import answer, limits
from tracker.compare.comparison import Comparison, Interval
from tracker.compare.scores import OPEN_STATES, Delta, Leaderboard, Outcome, Score

SCHEMA = 1
"""Raised when a key of the JSON changes its meaning or goes away."""


def csv_text(boards: Sequence[Leaderboard]) -> str:
    """Render leaderboards of one study as one CSV.

    Columns: study, metric, baseline; one a label (model, dataset, ...); normalization; n, expected;
    mean, sd (sample, ddof 1), delta (mean of the paired differences), pairs: fractions; rank, best,
    second (0 or 1); of the comparison with the baseline basis, low, high, t_low, t_high (95 %), p,
    p_adjusted, sign_flip_p, verdict, further_seeds; optimism (best_acc - last_acc); how many cells
    are failed, stopped, running, missing, unmeasured; values, as `seed=fraction` separated by
    spaces. What does not exist is empty.
    """
    labels = list(dict.fromkeys(key for board in boards for key in board.label_keys))
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    counts = ["n", "expected", "mean", "sd", "delta", "pairs", "rank", "best", "second", *COMPARED, "optimism"]
    writer.writerow(["study", "metric", "baseline", *labels, "normalization", *counts, *OPEN_STATES, "values"])
    for board in boards:
        for row in board.rows:
            for setting, score in row.scores.items():
                delta = score.delta
                writer.writerow(
                    [board.study, board.metric, board.baseline]
                    + [row.label.get(key) for key in labels]
                    + [setting, score.n, score.expected, score.mean, score.sd]
                    + [delta.mean if delta else None, delta.n if delta else None]
                    + [score.rank, int(score.is_best), int(score.is_second)]
                    + _compared(score.comparison)
                    + [score.optimism]
                    + [score.gaps.get(state, 0) for state in OPEN_STATES]
                    + [" ".join(f"{seed}={value!r}" for seed, value in score.values.items())]
                )
    return file.getvalue()


COMPARED = (
    "basis",
    "low",
    "high",
    "t_low",
    "t_high",
    "p",
    "p_adjusted",
    "sign_flip_p",
    "verdict",
    "further_seeds",
)


def _compared(comparison: Comparison | None) -> list[Any]:
    if comparison is None:
        return [None] * len(COMPARED)
    return [
        comparison.basis,
        *(comparison.interval or (None, None)),
        *(comparison.t_interval or (None, None)),
        comparison.p,
        comparison.p_adjusted,
        comparison.sign_flip,
        "not comparable" if comparison.blocked else comparison.verdict,
        comparison.further_seeds,
    ]


def json_text(board: Leaderboard) -> str:
    """Render a leaderboard as one JSON object; `document` tells its keys."""
    return _dumped(document(board))


def json_list_text(boards: Sequence[Leaderboard]) -> str:
    """Render leaderboards as a JSON array of such objects."""
    return _dumped([document(board) for board in boards])


def document(board: Leaderboard) -> dict[str, Any]:
    """Return a leaderboard as plain JSON values.

    Accuracies, spreads and deltas are fractions; what does not exist is null.

        schema        1
        study, question, metric, selection, baseline
        settings      the normalizations, in the study's order
        rows          [{label: {model, dataset, ...}, complete, scores: {SETTING: score}}]
          score       {mean, sd, n, expected, rank, best, second, optimism, delta, comparison, cells}
          delta       {mean, n, by_seed: {SEED: difference}} or null
          comparison  {pairs, mean, basis, interval, t_interval, p, p_adjusted, sign_flip_p, z, images,
                      mcnemar: {SEED: {gained, lost, p}}, noise: {between_seeds, from_images} (variances),
                      verdict, further_seeds, obstacles, blocked} or null; intervals are 95 %: [low, high]
          cells       [{cell_id, name, seed, state, value, run_id, test_images, finished_runs,
                      optimism, conditions: {TAG: value}}]
          state       measured, unmeasured, running, stopped, failed or missing
        answer        sentences
        rules         {rope, look, alpha, force}
        summaries     {SETTING: {average_rank, rank_rows, mean_delta, delta_rows, wins, ties, losses, verdicts,
                      effect: {mean, interval, between_rows, rows} or null, optimism}}
        ranks         {datasets, mean_ranks, friedman_p, critical_difference, cliques, datasets_needed} or null
        notes         sentences
    """
    return {
        "schema": SCHEMA,
        "study": board.study,
        "question": board.question,
        "metric": board.metric,
        "selection": board.selection,
        "baseline": board.baseline,
        "settings": list(board.settings),
        "rows": [
            {
                "label": dict(row.label),
                "complete": row.is_complete,
                "scores": {setting: _score(score) for setting, score in row.scores.items()},
            }
            for row in board.rows
        ],
        "answer": answer(board),
        "rules": {**_plain(board.rules), "alpha": board.rules.alpha},
        "summaries": {setting: _plain(summary) for setting, summary in board.summaries.items()},
        "ranks": _plain(board.ranks) if board.ranks else None,
        "notes": [*limits(board), *board.notes],
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "mean": score.mean,
        "sd": score.sd,
        "n": score.n,
        "expected": score.expected,
        "rank": score.rank,
        "best": score.is_best,
        "second": score.is_second,
        "optimism": score.optimism,
        "delta": _delta(score.delta),
        "comparison": _comparison(score.comparison),
        "cells": [_cell(outcome) for outcome in score.outcomes],
    }


def _delta(delta: Delta | None) -> dict[str, Any] | None:
    if delta is None:
        return None
    return {"mean": delta.mean, "n": delta.n, "by_seed": {str(seed): value for seed, value in delta.by_seed.items()}}


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    noise = comparison.noise
    return {
        "pairs": comparison.pairs,
        "mean": comparison.mean,
        "basis": comparison.basis,
        "interval": _ends(comparison.interval),
        "t_interval": _ends(comparison.t_interval),
        "p": comparison.p,
        "p_adjusted": comparison.p_adjusted,
        "sign_flip_p": comparison.sign_flip,
        "z": comparison.z,
        "images": comparison.images,
        "mcnemar": {str(seed): _plain(test) for seed, test in comparison.mcnemar.items()},
        "noise": {"between_seeds": noise.between_seeds, "from_images": noise.from_images} if noise else None,
        "verdict": comparison.verdict,
        "further_seeds": comparison.further_seeds,
        "obstacles": list(comparison.obstacles),
        "blocked": comparison.blocked,
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _plain(record: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values: its tuples, nested ones too, as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(record)))
    return plain


def _cell(outcome: Outcome) -> dict[str, Any]:
    return {
        "cell_id": outcome.cell_id,
        "name": outcome.name,
        "seed": outcome.seed,
        "state": outcome.state,
        "value": outcome.value,
        "run_id": outcome.run_id,
        "test_images": outcome.test_images,
        "finished_runs": outcome.finished_runs,
        "optimism": outcome.optimism,
        "conditions": dict(outcome.conditions),
    }


def _dumped(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
