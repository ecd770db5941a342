"""One effect over many rows of a table, where the rows themselves differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats


@dataclass(frozen=True)
class PooledEffect:
    """The mean effect over rows, with the interval of its true value.

    Args:
        mean: a fraction, as the rows' effects.
        interval: 95 %, for the mean over rows like these.
        between_rows: standard deviation of the rows' true effects.
        rows: how many.
    """

    mean: float
    interval: tuple[float, float]
    between_rows: float
    rows: int


def pool(effects: Sequence[float], variances: Sequence[float], level: float = 0.95) -> PooledEffect | None:
    """Pool rows by a random-effects model: each row's true effect is drawn around the mean.

    The variance between rows is Paule and Mandel's; the interval is Hartung and Knapp's, a t
    interval with rows - 1 degrees of freedom, never narrower than the rows' own noise makes it.

    Args:
        effects: one a row.
        variances: of each, above 0.

    Returns:
        None for fewer than two rows.

    Source: Paule and Mandel (1982); Hartung and Knapp, Statistics in Medicine 20 (2001); for the
        lower bound, Roever, Knapp and Friede, BMC Medical Research Methodology 15:99 (2015).
    """
    rows = len(effects)
    if rows < 2:
        return None
    y, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)

    def excess(tau2: float) -> float:
        w = 1 / (v + tau2)
        return float((w * (y - (w @ y) / w.sum()) ** 2).sum()) - (rows - 1)

    tau2 = 0.0
    if excess(0.0) > 0:
        top = float(np.var(y, ddof=1)) or 1.0
        while excess(top) > 0:
            top *= 2
        tau2 = float(optimize.brentq(excess, 0.0, top, xtol=1e-18))
    w = 1 / (v + tau2)
    mean = float((w @ y) / w.sum())
    inflation = max(1.0, float((w * (y - mean) ** 2).sum()) / (rows - 1))
    half = float(stats.t.ppf((1 + level) / 2, rows - 1)) * (inflation / float(w.sum())) ** 0.5
    return PooledEffect(mean, (mean - half, mean + half), tau2**0.5, rows)
