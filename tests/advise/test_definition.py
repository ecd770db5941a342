"""The study that a request makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.advise.material import make_folder
from tracker.advise.definition import distinct_settings, make_study, plan_of, settings_of
from tracker.advise.planning import Plan
from tracker.advise.request import Names, Request, names_of
from tracker.advise.source import ChosenSource
from tracker.study.errors import DataError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet, Statistics

IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAN = Plan(epochs=4, batch_size=16, train=30, test=9, cell_seconds=2.0)

Asked = tuple[Request, Names, ImageSet]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A request on a folder of 48 + 12 images, and these opened."""
    root = make_folder(tmp_path / 'it\'s\na "folder"')
    request = Request(root, ChosenSource("torchvision", "resnet18", 3, IMAGENET, "IMAGENET1K_V1"), "head")
    names = names_of(request)
    return request, names, open_dataset(names.dataset, request.spec, Home(tmp_path / "home"))


def test_the_study_is_an_ordinary_one(asked: Asked) -> None:
    """Four settings, three seeds, first look; limits only where images are left out; read back from its document."""
    request, names, images = asked
    study = make_study(request, names, request.spec, PLAN, images, settings_of(request))
    assert (study.name, study.baseline, study.looks, len(study.cells)) == (names.study, "pretrain", 1, 12)
    assert [cell.recipe.normalization for cell in study.cells[:4]] == ["pretrain", "finetune", "instance", "minmax"]
    recipe = study.cells[0].recipe
    assert (recipe.model, recipe.source, recipe.weights, recipe.tune) == (
        *("resnet18", "torchvision", "IMAGENET1K_V1"),
        "head",
    )
    assert (recipe.epochs, recipe.batch_size, recipe.crop_padding) == (4, 16, 2)
    assert (recipe.limit_train, recipe.limit_test) == (30, 9)
    assert study.datasets[names.dataset].path == str(request.root)
    assert parse_study(study.document(), file="stored") == study
    assert plan_of(study, len(images.train), len(images.test), 2.0) == PLAN
    whole = replace(PLAN, train=len(images.train), test=len(images.test))
    study = make_study(request, names, request.spec, whole, images, settings_of(request))
    assert (study.cells[0].recipe.limit_train, study.cells[0].recipe.limit_test) == (None, None)
    assert plan_of(study, len(images.train), len(images.test), 2.0) == whole


def test_a_source_without_statistics_has_no_pretrain(asked: Asked) -> None:
    """The first of the others is what they are compared with."""
    request, names, images = asked
    random = replace(request, source=ChosenSource("random", "resnet18", None, None))
    settings = settings_of(random)
    assert settings == ("finetune", "instance", "minmax")
    assert make_study(random, names, random.spec, PLAN, images, settings).baseline == "finetune"


def test_settings_that_do_the_same_are_run_once(asked: Asked) -> None:
    """A source of these very images: `finetune` is `pretrain`."""
    request, _, images = asked
    own = replace(request, source=replace(request.source, statistics=images.statistics))
    assert distinct_settings(settings_of(request), request, images) == (list(settings_of(request)), {})
    kept, same = distinct_settings(settings_of(own), own, images)
    assert (kept, same) == (["pretrain", "instance", "minmax"], {"finetune": "pretrain"})
    with pytest.raises(DataError, match="nothing to compare"):
        distinct_settings(["pretrain", "finetune"], own, images)
