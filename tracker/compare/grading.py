"""Which test images a run is right about: what a paired comparison needs beside its accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RULES = {"best_acc": "best", "last_acc": "last", "selected_acc": "selected"}
"""The key in a run's predictions that holds those of a metric's epoch."""


@dataclass(frozen=True, eq=False)
class Graded:
    """A run's predictions, right or wrong.

    Args:
        index: (m,), where the images lie in the dataset's test split.
        correct: (m,), bool.
    """

    index: NDArray[np.int32]
    correct: NDArray[np.bool_]


Grades = Mapping[str, Graded]
"""By run id; runs whose predictions are not stored are not in it."""


def layout_of(pairs: list[tuple[Graded, Graded]]) -> NDArray[np.int8] | None:
    """Return what setting and baseline differ in, seed by seed and image by image.

    Args:
        pairs: for each seed the setting's and the baseline's.

    Returns:
        (n, m): 1 where only the setting is right, -1 where only the baseline is; None where they were
        not tested on the same images, in the same order.
    """
    first = pairs[0][0].index
    if not all(np.array_equal(graded.index, first) for pair in pairs for graded in pair):
        return None
    return np.stack([one.correct.astype(np.int8) - other.correct.astype(np.int8) for one, other in pairs])
