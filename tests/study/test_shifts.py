"""The grammar of a shift: what is read, and what is refused in words."""

from __future__ import annotations

import pytest

from tracker.study.errors import StudyError
from tracker.study.load import load_study
from tracker.study.shifts import ShiftStep, parse_shift


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("as-is", ()),
        ("invert", (ShiftStep("invert"),)),
        ("gain=0.3", (ShiftStep("gain", (0.3,)),)),
        ("offset=-0.25", (ShiftStep("offset", (-0.25,)),)),
        ("gain=1:0.7:0.4", (ShiftStep("gain", (1.0, 0.7, 0.4)),)),
        ("frame=8", (ShiftStep("frame", (8.0,)),)),
        (
            "frame=2+gain=0.5+offset=0.5",
            (ShiftStep("frame", (2.0,)), ShiftStep("gain", (0.5,)), ShiftStep("offset", (0.5,))),
        ),
    ],
)
def test_a_shift_is_read(text: str, steps: tuple[ShiftStep, ...]) -> None:
    """Steps keep their order; a number may differ by channel."""
    assert parse_shift(text) == steps


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a shift"),
        ("dim", "is not a shift"),
        ("invert=1", "is not a shift"),
        ("gain", "is not a shift"),
        ("gain=", "no number"),
        ("gain=two", "no number"),
        ("gain=nan", "takes 0.01 to 100"),
        ("gain=0", "takes 0.01 to 100"),
        ("offset=2", "takes -1 to 1"),
        ("gain=1:2", "one number, or three"),
        ("frame=1.5", "whole number"),
        ("frame=1:2:3", "whole number"),
        ("frame=1+frame=2", "two frames"),
        ("gain=0.5+", "is not a shift"),
    ],
)
def test_what_is_no_shift_is_refused(text: str, complaint: str) -> None:
    """The message names the step and what is wrong with it."""
    with pytest.raises(ValueError, match=complaint):
        parse_shift(text)


def test_a_study_file_is_told_what_a_shift_is() -> None:
    """A wrong shift is a StudyError that names file, key, value and the grammar."""
    with pytest.raises(StudyError) as caught:
        load_study("quickstart", ["recipe.shift=darker"])
    assert "recipe.shift" in str(caught.value)
    assert "'darker' is not a shift" in str(caught.value)
    assert "`gain=G`" in str(caught.value)


def test_a_shift_makes_another_cell_and_none_makes_the_same() -> None:
    """Shift is part of a cell's identity; saying the default changes nothing."""
    plain = load_study("quickstart").cells[0]
    assert load_study("quickstart", ["recipe.shift=as-is"]).cells[0].id == plain.id
    shifted = load_study("quickstart", [], ["shift=gain=0.3"]).cells[0]
    assert shifted.id != plain.id
    assert shifted.configuration_name.endswith("/gain=0.3/pretrain")
