"""From what was measured to the hours of the reference study's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracker.bench.measure import Measured
from tracker.bench.subject import SHAPES

MODELS = ("resnet18", "resnet50", "densenet121", "densenet161")
NORMALIZATIONS = 4
EPOCHS = 100
CELLS = len(MODELS) * len(SHAPES) * NORMALIZATIONS
"""Of the reference study: experiments/norm-test.yaml."""


@dataclass(frozen=True)
class Projection:
    """What cells of the reference study take on one device, one after the other.

    Args:
        pairs: model and dataset of those cells, each with the four normalizations.
        reference, engine: hours.
    """

    pairs: tuple[tuple[str, str], ...]
    reference: float
    engine: float

    @property
    def cells(self) -> int:
        """How many."""
        return len(self.pairs) * NORMALIZATIONS

    @property
    def what(self) -> str:
        """Say which cells, in a clause."""
        named = ", ".join(f"{model} on {dataset}" for model, dataset in self.pairs)
        whole = set(self.pairs) == {(model, dataset) for model in MODELS for dataset in SHAPES}
        of_study = all(model in MODELS for model, _ in self.pairs)
        if whole:
            which = f"the reference study's {CELLS} cells"
        elif of_study:
            which = f"{self.cells} of the reference study's {CELLS} cells ({named})"
        else:
            which = f"{self.cells} cells like the reference study's ({named})"
        return (
            f"{which}, {EPOCHS} epochs each, one after the other: training, evaluation and, of the engine, the start "
            "of each trial; without logging and checkpoints"
        )


NEEDED = ("evaluation", "epoch", "start")
"""Pieces that a projection is made of."""


def project(found: Sequence[Measured]) -> Projection | None:
    """Scale a measured epoch to the images of its dataset, training and evaluation apart, and add trials' starts.

    Returns:
        None where no network was measured on a dataset in all that this takes.
    """
    by_place = {(each.model, each.dataset, each.piece): each for each in found}
    measured = dict.fromkeys((each.model, each.dataset) for each in found)
    pairs = tuple(pair for pair in measured if all((*pair, piece) in by_place for piece in NEEDED))
    if not pairs:
        return None
    hours = {"reference": 0.0, "engine": 0.0}
    for model, dataset in pairs:
        shape = SHAPES[dataset]
        for side in hours:
            epoch = getattr(by_place[model, dataset, "epoch"], side)
            judged = getattr(by_place[model, dataset, "evaluation"], side)
            training = max(0.0, epoch.median - judged.median) / epoch.images * shape.train
            hours[side] += NORMALIZATIONS * EPOCHS * (training + shape.test / judged.rate) / 3600
        hours["engine"] += NORMALIZATIONS * by_place[model, dataset, "start"].engine.median / 3600
    return Projection(pairs, **hours)
