"""Both sides of the bench do the same work, on images of the reference grid's shapes; what follows for the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.bench.pieces import pieces
from tracker.bench.measure import Measured, Timing
from tracker.bench.projection import CELLS, MODELS, project
from tracker.bench.reference import judge_epoch, loader_of, train_epoch
from tracker.bench.subject import EVALUATED, SHAPES, make_images, make_recipe
from tracker.study.load import load_study
from tracker.training.execution import PLAIN
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.datasets import datasets_of
from tracker.vision.models import build_network
from tracker.vision.sources import random_source

CPU = torch.device("cpu")


def test_the_shapes_are_those_of_the_reference_grid() -> None:
    """Every dataset of norm-test, and nothing else."""
    assert set(SHAPES) == set(datasets_of(load_study("norm-test").cells))


def test_images_are_the_same_each_time() -> None:
    """Random bytes of a named seed, with a test split a fifth as large."""
    one, other = make_images("svhn", 20, seed=1), make_images("svhn", 20, seed=1)
    assert np.array_equal(one.train.images, other.train.images)
    assert one.train.images.shape == (20, 3, 32, 32) and len(one.test) == 20 // EVALUATED
    assert not np.array_equal(one.train.images, make_images("svhn", 20, seed=2).train.images)


@pytest.mark.parametrize("normalization", ["finetune", "instance", "minmax"])
def test_the_reference_loads_what_the_engine_is_fed_with(normalization: str) -> None:
    """Without augmentation, image for image: its transforms are this program's normalizations, to a rounding."""
    images = make_images("cifar10", 12, seed=1)
    recipe = make_recipe("resnet18", "cifar10", 5).model_copy(update={"normalization": normalization})
    classifier = build_classifier(recipe, images, random_source("resnet18"))
    loaded = list(loader_of(recipe, images.train, images.statistics, 0, train=False))
    assert [len(labels) for _, labels in loaded] == [5, 5, 2]
    ours = classifier.normalized(torch.from_numpy(images.train.images))
    assert torch.allclose(torch.cat([inputs for inputs, _ in loaded]), ours, atol=2e-6)
    assert torch.equal(torch.cat([labels for _, labels in loaded]), torch.from_numpy(images.train.labels))


def test_the_reference_augments_training_images_only() -> None:
    """Two epochs of its training loader differ, and neither is the images as they are."""
    images = make_images("cifar10", 12, seed=1)
    recipe = make_recipe("resnet18", "cifar10", 12).model_copy(update={"normalization": "minmax"})
    train = loader_of(recipe, images.train, images.statistics, 0, train=True)
    (one, _), (other, _) = next(iter(train)), next(iter(train))
    assert not torch.equal(one, other)
    assert sorted(one.sum((1, 2, 3)).tolist()) != sorted((images.train.images / 255).sum((1, 2, 3)).tolist())


def test_both_sides_train_the_same_network() -> None:
    """From the same weights, without augmentation and in one batch: the same loss, before and after the step."""
    images = make_images("cifar10", 10, seed=1)
    recipe = make_recipe("resnet18", "cifar10", 10)
    recipe = recipe.model_copy(update={"crop_padding": 0, "flip": False, "lr": 1e-4, "epochs": 1})
    classifier = build_classifier(recipe, images, random_source("resnet18"))
    (result,) = run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, execution=PLAIN)
    network, _ = build_network("resnet18", channels=3, classes=10, seed=recipe.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    loader = loader_of(recipe, images.train, images.statistics, 0, train=False)
    loss, accuracy = train_epoch(network, optimizer, iter(loader), CPU)
    assert loss == pytest.approx(result.metrics["train_loss"], rel=1e-4)
    assert accuracy == result.metrics["train_acc"]
    tested, _ = judge_epoch(network, iter(loader_of(recipe, images.test, images.statistics, 0, train=False)), CPU)
    assert tested == pytest.approx(result.metrics["test_loss"], rel=1e-2)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """Not the ratio of medians: what else the machine did in a round hit both sides of it."""
    reference, engine = Timing(10, (2.0, 9.0, 4.0)), Timing(10, (1.0, 3.0, 4.0))
    assert Measured("m", "cifar10", "step", "plain", reference, engine).ratio == 2.0
    assert Measured("m", "cifar10", "start", "plain", None, engine).ratio is None
    assert engine.rate == pytest.approx(10 / 3)


def test_the_projection_scales_training_and_evaluation_apart() -> None:
    """By hand, on CIFAR-10's 50,000 and 10,000 images: 100 epochs of four cells, and the engine's four starts."""
    found = project(pieces("resnet18", "cifar10"))
    assert found is not None
    training = (500 * 1.0 + 500 * 0.5) * 100 * 4 / 3600
    assert found.reference == pytest.approx(2 * training)
    assert found.engine == pytest.approx(training + 4 * 9.0 / 3600)


def test_the_projection_says_which_cells_it_is_of() -> None:
    """All 64 by their number; fewer by name; a model that the study has not is not passed off as its."""
    assert CELLS == len(load_study("norm-test").cells) == 64
    assert set(MODELS) == {cell.recipe.model for cell in load_study("norm-test").cells}
    some = project(pieces("resnet18", "cifar10") + pieces("resnet50", "svhn"))
    assert some is not None and some.cells == 8
    assert "8 of the reference study's 64 cells (resnet18 on cifar10, resnet50 on svhn)" in some.what
    whole = project([each for model in MODELS for dataset in SHAPES for each in pieces(model, dataset)])
    assert whole is not None and whole.cells == 64 and whole.what.startswith("the reference study's 64 cells,")
    parts = [project(pieces(model, dataset)) for model in MODELS for dataset in SHAPES]
    assert whole.engine == pytest.approx(sum(part.engine for part in parts if part is not None))
    other = project(pieces("vgg11", "svhn"))
    assert other is not None and other.what.startswith("4 cells like the reference study's (vgg11 on svhn)")
