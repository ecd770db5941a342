"""Rules of what a study has grown by: further seeds are carried on into the file that is swept next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.study.made_study import make
from tracker.study.changes import carried_on
from tracker.study.load import parse_study

GROWN = {"resnet18/high/pretrain": [3, 4], "resnet18/high/minmax": [4]}
AXES = {"normalization": ["pretrain", "minmax"], "seed": [1, 2]}


def test_a_file_does_not_lose_what_the_study_has_grown_by() -> None:
    """The unchanged file is carried on to the very study that is stored, as often as it is swept."""
    stored = make(axes=AXES, more_seeds=GROWN, looks=3)
    again = carried_on(stored, make(axes=AXES))
    assert again == stored and again.document() == stored.document()
    assert carried_on(again, make(axes=AXES)) == stored
    assert carried_on(make(axes=AXES), make(axes=AXES)) == make(axes=AXES)


@pytest.mark.parametrize(
    ("axes", "more_seeds"),
    [
        ({**AXES, "seed": [1, 2, 3]}, {"resnet18/high/pretrain": (4,), "resnet18/high/minmax": (4,)}),
        ({**AXES, "seed": [1, 2, 3, 4]}, {}),
        ({**AXES, "normalization": ["pretrain"]}, {"resnet18/high/pretrain": (3, 4)}),
        ({**AXES, "epochs": [100]},
         {"resnet18/high/epochs=100/pretrain": (3, 4), "resnet18/high/epochs=100/minmax": (4,)}),
        ({**AXES, "flip": [False, True], "lr": [0.001]},
         {"resnet18/high/flip=True/lr=0.001/pretrain": (3, 4), "resnet18/high/flip=True/lr=0.001/minmax": (4,)}),
    ],
    ids=["longer axis of seeds", "all seeds on the axis", "fewer settings", "axis of a default", "new axes"],
)  # fmt: skip
def test_further_seeds_go_with_their_configuration(axes: dict[str, Any], more_seeds: dict[str, Any]) -> None:
    """They are found by content, whatever the configuration is called now; what the axis has is no further seed."""
    stored = make(axes=AXES, more_seeds=GROWN, looks=2)
    again = carried_on(stored, make(axes=axes))
    assert again.more_seeds == more_seeds
    assert again == parse_study(json.loads(json.dumps(again.document())), file="again")
    left = {cell.id for cell in stored.cells} - {cell.id for cell in again.cells}
    assert bool(left) == (axes["normalization"] == ["pretrain"])


def test_a_study_that_has_grown_by_hand_is_looked_at_anew() -> None:
    """Cells that were not there make the next look another one; fewer cells, or the same again, do not."""
    stored = make(axes=AXES, more_seeds=GROWN, looks=2)
    more = carried_on(stored, make(axes={**AXES, "normalization": ["pretrain", "minmax", "instance"]}))
    assert more.looks == 3
    assert carried_on(more, make(axes={**AXES, "normalization": ["pretrain", "minmax", "instance"]})).looks == 3
    assert carried_on(stored, make(axes={**AXES, "normalization": ["pretrain", "minmax"], "seed": [1]})).looks == 2
    never = make(axes=AXES)
    assert carried_on(never, make(axes={**AXES, "seed": [1, 2, 3]})).looks == 0


def test_another_recipe_begins_anew() -> None:
    """Nothing of a study is carried into one that has no cell in common with it."""
    new = make({"epochs": 4}, axes=AXES)
    assert carried_on(make(axes=AXES, more_seeds=GROWN, looks=2), new) == new


def test_further_seeds_of_a_file_are_kept_beside_the_stored_ones() -> None:
    """A file may have further seeds of its own; none stands twice."""
    stored = make(axes=AXES, more_seeds=GROWN, looks=1)
    new = make(axes=AXES, more_seeds={"resnet18/high/minmax": [7, 4]})
    again = carried_on(stored, new)
    assert again.more_seeds == {"resnet18/high/pretrain": (3, 4), "resnet18/high/minmax": (7, 4)}
    assert again.looks == 2
