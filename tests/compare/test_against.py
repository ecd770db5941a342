"""Rules of a study beside the published results: what is compared, its noise, and what is told.

`WRITE_GOLDEN=1 pytest tests/compare/test_against.py` writes the golden files anew: read the
difference before it is committed.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.compare.printed_sections import GOLDEN, check_golden, check_width
from tracker.compare.published.against import Against, against_published
from tracker.compare.published.pages import AgainstPage
from tracker.compare.published.results import TEST_IMAGES, published_runs, published_study
from tracker.study.errors import UsageError
from tracker.study.load import parse_study
from tracker.study.study import Study

OURS = {
    "name": "ours",
    "question": "Does it come out again?",
    "recipe": {"statistics": "published", "epochs": 5, "limit_train": 3000},
    "axes": {
        "model": ["resnet18", "resnet34"],
        "dataset": ["cifar10", "svhn"],
        "normalization": ["pretrain", "finetune"],
        "seed": [1, 2, 3],
    },
}


@pytest.fixture(scope="module")
def ours() -> Study:
    """24 cells; those of resnet34 were not published."""
    return parse_study(OURS, file="ours.yaml")


@pytest.fixture(scope="module")
def beside(ours: Study, make_run: Any) -> Against:
    """Near on CIFAR10 at pretrain, far at finetune; one seed on SVHN at pretrain, none at finetune."""
    base = {("cifar10", "pretrain"): 0.88, ("cifar10", "finetune"): 0.83, ("svhn", "pretrain"): 0.95}
    runs = []
    for cell in ours.cells:
        dataset, setting, seed = cell.recipe.dataset, cell.recipe.normalization, cell.recipe.seed
        if (dataset, setting) in base and (dataset == "cifar10" or seed == 1):
            tags = {"tracker.test_images": str(TEST_IMAGES[dataset])}
            runs.append(make_run(cell, base[dataset, setting] + 0.002 * (seed - 2), tags=tags))
    return against_published(ours, runs)


def test_against_cell_by_cell(beside: Against) -> None:
    """Mean, difference, noise and z of each configuration that both have are as computed here by hand."""
    found = {(each.label["dataset"], each.normalization): each for each in beside.results}
    assert len(found) == len(beside.results) == 4
    near = found["cifar10", "pretrain"]
    assert (near.n, near.expected, near.published) == (3, 3, 0.8798)
    assert near.mean == pytest.approx(0.88)
    assert near.difference == pytest.approx(0.0002)
    sampling = (0.88 * 0.12 + 0.8798 * 0.1202) / 10_000
    between = 0.002**2 * (1 / 3 + 1)
    assert near.sampling == pytest.approx(sampling)
    assert near.between_seeds == pytest.approx(between)
    assert near.half_width == pytest.approx(math.hypot(1.959964 * sampling**0.5, 4.302653 * between**0.5), rel=1e-6)
    assert near.z == pytest.approx(0.0002 / math.sqrt(sampling + between))
    assert near.within is True
    far = found["cifar10", "finetune"]
    assert far.difference == pytest.approx(0.83 - 0.8788)
    assert far.within is False
    alone = found["svhn", "pretrain"]
    assert (alone.n, alone.sd, alone.between_seeds) == (1, None, None)
    assert alone.half_width == pytest.approx(1.959964 * math.sqrt(alone.sampling or 0), rel=1e-6)
    none = found["svhn", "finetune"]
    assert (none.n, none.mean, none.difference, none.z, none.within) == (0, None, None, None, None)
    assert (beside.compared, beside.beyond) == (3, 1)


def test_against_names_what_is_different(beside: Against) -> None:
    """Configurations that were not published are listed, and so is each key in which the recipe departs."""
    assert beside.others == (
        "resnet34/cifar10/pretrain",
        "resnet34/cifar10/finetune",
        "resnet34/svhn/pretrain",
        "resnet34/svhn/finetune",
    )
    assert {each.key: (each.ours, each.reference) for each in beside.departures} == {
        "epochs": ((5,), 100),
        "limit_train": ((3000,), None),
    }
    text = AgainstPage(beside).text("table", 300)
    assert "epochs 5 (reference 100); limit_train 3000 (reference all)" in text
    assert "Not in the reference: 4 configurations (resnet34/cifar10/pretrain" in text
    assert "Where n = 1 the noise between seeds is not known" in text


def test_the_reference_itself_departs_in_nothing() -> None:
    """The published results against themselves: 64 configurations, no difference, no departure."""
    study = published_study()
    found = against_published(study, published_runs(study))
    assert len(found.results) == found.compared == 64
    assert {each.difference for each in found.results} == {0.0}
    assert (found.departures, found.others, found.beyond) == ((), (), 0)
    assert "The recipe is the reference's." in AgainstPage(found).text("table", 200)


def test_exact_statistics_depart_where_they_are_used(ours: Study, make_run: Any) -> None:
    """Exact instead of published statistics are another recipe under finetune, and nothing under the others."""
    study = parse_study({**OURS, "recipe": {}}, file="ours.yaml")
    found = against_published(study, [make_run(cell, 0.9) for cell in study.cells])
    departing = {each.normalization: dict(each.departures) for each in found.results}
    assert departing == {"pretrain": {}, "finetune": {"statistics": "exact"}}
    assert [(each.key, each.ours) for each in found.departures] == [("statistics", ("published", "exact"))]


def test_a_frozen_backbone_was_not_published(make_run: Any) -> None:
    """The same model, dataset and normalization with another part trained is another configuration."""
    recipe = {"model": "resnet18", "dataset": "cifar10", "normalization": "pretrain"}
    document = {"name": "tuned", "question": "?", "recipe": recipe, "axes": {"tune": ["full", "head"], "seed": [1, 2]}}
    study = parse_study(document, file="tuned.yaml")
    found = against_published(study, [make_run(cell, 0.9) for cell in study.cells])
    assert [each.label["tune"] for each in found.results] == ["full"]
    assert found.others == ("resnet18/cifar10/head/pretrain",)


def test_no_overlap_names_what_there_is(small: Study, make_run: Any) -> None:
    """A study of other datasets cannot be set against the reference; the error lists what that has."""
    with pytest.raises(UsageError, match="no configuration of study small") as caught:
        against_published(small, [make_run(cell, 0.9) for cell in small.cells])
    assert all(name in str(caught.value) for name in (*TEST_IMAGES, "densenet161", "minmax", "tune full"))


def test_unknown_number_of_images_is_no_noise(ours: Study, make_run: Any) -> None:
    """A run that does not say how many images it was tested on has a difference, but no z."""
    found = against_published(ours, [make_run(cell, 0.9, tags={}) for cell in ours.cells])
    assert {each.difference is None for each in found.results} == {False}
    assert {(each.z, each.within) for each in found.results} == {(None, None)}
    assert "noise unknown" in AgainstPage(found).text("table")


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.01), (3, 0.003), (3, 0.03)])
def test_noise_is_calibrated(seeds: int, spread: float, make_run: Any) -> None:
    """Where nothing but images and seeds differs, about one in 20 differences is beyond the noise, or fewer."""
    tables, images, published = 400, 10_000, 0.8798
    random = np.random.default_rng([20_261_121, seeds, round(1e4 * spread)])
    recipe = {"model": "resnet18", "dataset": "cifar10", "normalization": "pretrain"}
    axes = {"lr": [0.001 * (1 + number) for number in range(tables)], "seed": list(range(seeds))}
    study = parse_study({"name": "null", "question": "?", "recipe": recipe, "axes": axes}, file="null.yaml")
    # Theirs is what it is, so what it was drawn from is drawn around it.
    noise = math.hypot(math.sqrt(published * (1 - published) / images), spread)
    truths = dict(zip(axes["lr"], published + noise * random.standard_normal(tables), strict=True))
    runs = [
        make_run(cell, random.binomial(images, truths[cell.recipe.lr] + spread * random.standard_normal()) / images)
        for cell in study.cells
    ]
    found = against_published(study, runs)
    assert found.compared == tables
    assert found.beyond / tables < 0.08  # 5 % and 3 standard errors of 400 tables


def test_json_of_a_study_against_them(beside: Against) -> None:
    """The JSON has each configuration with its noise; what is not known is null."""
    found = json.loads(AgainstPage(beside).text("json"))
    assert [each["within"] for each in found["results"]] == [True, False, True, None]
    assert found["departures"][0] == {"key": "epochs", "ours": [5], "reference": 100}
    with pytest.raises(UsageError, match="no format 'csv'"):
        AgainstPage(beside).text("csv")


def test_golden_against(beside: Against) -> None:
    """A study against the published results is printed as its golden files have it."""
    page = AgainstPage(beside)
    check_golden("against.txt", page.text("table"))
    check_golden("against.md", page.text("markdown"))


def test_golden_files_are_all_looked_at() -> None:
    """No golden file is left over, of this page or of the judgement."""
    names = {"judgement.txt", "judgement-60.txt", "judgement.md", "against.txt", "against.md"}
    assert {path.name for path in GOLDEN.iterdir()} == names


@pytest.mark.parametrize("width", [46, 60, 79, 80, 100, 160])
def test_it_keeps_to_its_width(width: int, beside: Against) -> None:
    """At any width no line is longer and no number is lost."""
    check_width(AgainstPage(beside).sections, width)
