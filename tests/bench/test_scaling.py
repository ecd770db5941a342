"""How cost grows: the fit, what is measured, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tracker.bench import scaling
from tracker.bench.scaling import TERMS, Point, Term, exponent
from tracker.bench.scaling_report import scaling_document, scaling_markdown, scaling_picture, told
from tracker.cli.main import cli
from tracker.training.execution import PLAIN


def term(*rounds: tuple[float, ...], values: tuple[float, ...] = (1, 2, 4)) -> Term:
    """Return a term whose cost was measured in rounds, each a cost by value."""
    by_value = zip(*rounds, strict=True)
    return Term("images", tuple(Point(v, "plain", seconds) for v, seconds in zip(values, by_value, strict=True)))


def test_the_exponent_is_that_of_a_power() -> None:
    """Three times the square root, and a constant."""
    assert exponent([1, 4, 9], [3, 6, 9]) == pytest.approx(0.5)
    assert exponent([10, 100, 1000], [2, 2, 2]) == pytest.approx(0)


def test_each_round_is_fitted_and_the_verdict_needs_them_all() -> None:
    """At most linear by the median; worse only where every round is; otherwise undecided."""
    linear, square = (1.0, 2.0, 4.0), (1.0, 4.0, 16.0)
    assert term(linear, square, linear).exponents == pytest.approx((1, 2, 1))
    assert term(linear, square, linear).verdict == "at most linear"
    assert term(square, square, square).verdict == "worse than linear"
    assert term(square, linear, square).verdict.startswith("undecided")
    assert term((1.0,), values=(1,)).verdict == "too few points" and term((1.0,), values=(1,)).exponents == ()


def test_a_verdict_is_told_with_its_spread() -> None:
    """The median of the rounds' exponents, the least and the largest."""
    found = {"exponent": 0.5, "exponents": [0.5, 0.25, 1.0], "verdict": "at most linear"}
    assert told(found) == "exponent 0.50 (0.25 to 1.00): at most linear"


def test_a_document_is_printed_and_drawn(tmp_path: Path) -> None:
    """Each point with what it is times the first; an execution in the rows as soon as one is not what was asked."""
    found = scaling_document(
        [term((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))], {"device": "CPU, 2 threads"}, "resnet18", "cifar10", PLAIN,
        {"batch_size": 4, "batches": 1, "times": 2},
    )  # fmt: skip
    table = scaling_markdown(found)
    assert "| images | 4 | 3.000 (3.000 to 3.000) | 3.00 | 4.00 |" in table
    assert "images: exponent 0.79 (0.79 to 0.79): at most linear" in table and "Not all" not in table
    assert "Not all of it was measured: stopped." in scaling_markdown({**found, "ended_early": "stopped"})
    found["asked"] = "channels_last"
    assert "| images | 4 | plain | 3.000" in scaling_markdown(found)
    (picture,) = scaling_picture(found, tmp_path / "cost.svg")
    shown = picture.read_text()
    assert "exponent 0.79 (0.79 to 0.79)" in shown and "training images of an epoch" in shown


@pytest.mark.soak
def test_the_command_measures_every_term(tmp_path: Path) -> None:
    """A document with each term's points in rising order, each as often as asked; and a picture."""
    picture = tmp_path / "scaling.svg"
    arguments = ["bench", "--scaling", "--models", "squeezenet1_1", "--device", "cpu", "--batch-size", "4"]
    options = ["--batches", "4", "--times", "2", "-o", str(picture), "--format", "json"]
    done = CliRunner().invoke(cli, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [each["term"] for each in found["terms"]] == list(TERMS)
    for each in found["terms"]:
        values = [point["value"] for point in each["points"]]
        assert values == sorted(set(values)) and len(values) >= 1
        assert all(len(point["seconds"]) == 2 for point in each["points"])
        if len(values) > 1:
            assert min(each["exponents"]) <= each["exponent"] <= max(each["exponents"])
    images, classes, pixels, _ = found["terms"]
    assert [point["value"] for point in images["points"]] == [4, 8, 16, 32]
    assert [point["value"] for point in classes["points"]] == [10, 100, 1000]
    assert [point["value"] for point in pixels["points"]] == [32**2, 48**2, 64**2, 96**2]
    assert picture.stat().st_size > 5_000


def test_a_few_points_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is left out and said; the rest is told as it is measured, and yielded after each round."""
    monkeypatch.setattr(scaling, "PARTS", (1, 10**12))
    monkeypatch.setattr(scaling, "CLASSES", (3,))
    monkeypatch.setattr(scaling, "SIZES", (1,))
    monkeypatch.setattr(scaling, "TRIALS", (1,))
    monkeypatch.setattr(scaling, "SECONDS", 0.0)
    said: list[str] = []
    cpu = torch.device("cpu")
    first, found = scaling.measure_scaling(
        "squeezenet1_1", "cifar10", cpu, PLAIN, batch_size=2, batches=1, times=2, say=said.append
    )
    assert [len(point.seconds) for each in first for point in each.points] == [1] * 4
    assert {each.name: [point.value for point in each.points] for each in found} == {
        "images": [2], "classes": [3], "pixels": [1024], "trials": [1],
    }  # fmt: skip
    assert all(len(point.seconds) == 2 for each in found for point in each.points)
    assert any("left out" in line for line in said)
    (pixels,) = found[2].points
    for number, seconds in enumerate(pixels.seconds, start=1):
        assert f"squeezenet1_1, pixels 1,024, round {number}: {seconds:.3f} s" in said
