"""Tables made by hand, for the rules that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.compare.comparison import Comparison, Rules
from tracker.compare.scores import Delta, Leaderboard, Outcome, Row, Score, State
from tracker.significance.crossed import Noise
from tracker.significance.verdicts import Verdict

SETTINGS = ("pretrain", "finetune", "instance", "minmax")


def compared(
    verdict: Verdict = "undecided",
    mean: float = 0.01,
    half: float | None = 0.03,
    *,
    pairs: int = 3,
    images: int = 400,
    further: int | None = 4,
    **changes: Any,
) -> Comparison:
    """Make a comparison with an interval of `mean` plus or minus `half`."""
    fields: dict[str, Any] = {
        "pairs": pairs,
        "mean": mean,
        "basis": "seeds and images",
        "interval": None if half is None else (mean - half, mean + half),
        "t_interval": None,
        "p": 0.2,
        "sign_flip": None,
        "mcnemar": {},
        "z": None,
        "images": images,
        "noise": Noise(pairs, images, 1e-4, 1e-5),
        "verdict": verdict,
        "further_seeds": further if verdict == "undecided" else None,
    }
    return Comparison(**{**fields, **changes})


def score(mean: float | None, comparison: Comparison | None = None, n: int = 3, state: State = "failed") -> Score:
    """Make a score of `n` seeds, measured or all in a state without a value."""
    outcomes = tuple(
        Outcome(
            cell_id=f"{seed:012x}",
            name=f"cell {seed}",
            seed=seed,
            state="measured" if mean is not None else state,
            value=mean,
            run_id=None,
            test_images=400,
            finished_runs=1,
            conditions={},
            optimism=None,
        )
        for seed in range(1, n + 1)
    )
    delta = None if comparison is None else Delta(dict.fromkeys(range(1, n + 1), comparison.mean))
    return Score(outcomes, mean, 0.02, delta, None, False, False, comparison)


def board(
    others: Mapping[str, Comparison | None], baseline: float | None = 0.7, *, look: int = 1, rope: float = 0.01
) -> Leaderboard:
    """Make a table of one row: the baseline `pretrain`, and others; one without a comparison has failed."""
    scores = {"pretrain": score(baseline)}
    for name, comparison in others.items():
        mean = None if comparison is None else (baseline or 0.5) + comparison.mean
        scores[name] = score(mean, comparison)
    return Leaderboard(
        study="advise-x",
        question="which?",
        metric="last_acc",
        selection="last epoch, nothing selected",
        baseline="pretrain",
        settings=tuple(scores),
        rows=(Row({"model": "resnet18", "dataset": "x"}, scores),),
        summaries={},
        ranks=None,
        rules=Rules(rope=rope, look=look),
        notes=(),
        swept_as="advise-x",
    )
