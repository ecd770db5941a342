"""Rules of the table of metrics."""

from __future__ import annotations

from tracker.study.metrics import METRICS, RANKING_METRICS, SELECTION, SHIFT_METRICS

UNITS = {"nats", "fraction", "1", "s", "images/s", "epoch", "source SD"}


def test_names_units_and_meanings() -> None:
    """Every metric stands under its name, has a known unit, and says in a sentence what it is."""
    assert len(METRICS) == 18
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.unit in UNITS
        assert metric.meaning[0].isupper() and metric.meaning.endswith(".")


def test_accuracies_are_fractions_and_losses_nats() -> None:
    """A name tells its unit: percent appears only where numbers are printed."""
    for name, metric in METRICS.items():
        if name.endswith("_acc"):
            assert metric.unit == "fraction"
        if name.endswith("_loss"):
            assert metric.unit == "nats"


def test_only_the_validation_split_is_called_val() -> None:
    """A number of the test split is never called a validation number, and says that it is the test's."""
    for name, metric in METRICS.items():
        assert name.startswith("val_") == ("over the validation split" in metric.meaning)
        if name.startswith("test_"):
            assert "test split" in metric.meaning


def test_every_ranking_metric_names_its_rule() -> None:
    """What a leaderboard is made of is an accuracy of the run, with the rule that picked its epoch."""
    assert set(SELECTION) == set(RANKING_METRICS)
    for name in RANKING_METRICS:
        assert (METRICS[name].unit, METRICS[name].scope) == ("fraction", "run")
    assert "optimistic" in SELECTION["best_acc"]
    assert "validation" in SELECTION["selected_acc"]


def test_shifts_are_numbers_of_the_run_in_one_unit() -> None:
    """Every shift, and nothing else, is measured in deviations of the source, once a run."""
    assert {name for name, metric in METRICS.items() if metric.unit == "source SD"} == set(SHIFT_METRICS)
    assert all(METRICS[name].scope == "run" for name in SHIFT_METRICS)
    assert len(SHIFT_METRICS) == 4
