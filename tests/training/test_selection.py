"""The three rules that pick an epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracker.training.selection import Selection

accuracies = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=1, max_size=30)


def run(test: list[float], val: list[float] | None) -> Selection:
    """Return the choice after all epochs."""
    selection = Selection()
    for epoch, accuracy in enumerate(test):
        selection = selection.after(epoch, test_acc=accuracy, val_acc=None if val is None else val[epoch])
    return selection


@given(accuracies)
def test_best_is_the_first_maximum_and_last_is_the_last(test: list[float]) -> None:
    """best_acc is numpy's max at its argmax; last_acc selects nothing."""
    chosen = run(test, None)
    assert (chosen.best_acc, chosen.best_epoch) == (max(test), int(np.argmax(test)))
    assert (chosen.last_acc, chosen.last_epoch) == (test[-1], len(test) - 1)
    assert "selected_acc" not in chosen.metrics()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_selected_is_the_test_accuracy_at_the_best_validation_epoch(pairs: list[tuple[int, int]]) -> None:
    """The validation split chooses; the test split only reports, and is never better than best_acc."""
    test, val = [a / 9 for a, _ in pairs], [b / 9 for _, b in pairs]
    chosen = run(test, val)
    epoch = int(np.argmax(val))
    assert (chosen.selected_acc, chosen.selected_epoch) == (test[epoch], epoch)
    assert chosen.metrics()["selected_acc"] <= chosen.metrics()["best_acc"]


def test_an_accuracy_of_zero_is_a_result() -> None:
    """A run that gets nothing right has a best epoch all the same."""
    assert run([0.0, 0.0], [0.0, 0.0]).metrics() == {
        "best_acc": 0.0,
        "best_epoch": 0,
        "last_acc": 0.0,
        "selected_acc": 0.0,
        "selected_epoch": 0,
    }
