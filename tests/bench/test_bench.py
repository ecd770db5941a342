"""`tracker bench`: both sides do the same work, and the numbers are those of the work."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tracker.bench.machine import copy_bandwidth, peak_flops, step_flops
from tracker.bench.measure import LOADED, Measured, Timing, measure, projected_hours
from tracker.bench.reference import judge_epoch, loader_of, train_epoch
from tracker.bench.sides import PIECES
from tracker.bench.subject import EVALUATED, SHAPES, make_images, make_recipe
from tracker.cli.main import cli
from tracker.study.errors import UsageError
from tracker.study.load import load_study
from tracker.training.execution import PLAIN
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.datasets import datasets_of
from tracker.vision.models import build_network
from tracker.vision.sources import random_source

CPU = torch.device("cpu")


def timing(seconds: float, images: int) -> Timing:
    """Return a timing of three rounds."""
    return Timing(images, (seconds, 3 * seconds, seconds / 2))


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
    recipe = make_recipe("resnet18", "cifar10", 5, 1).model_copy(update={"normalization": normalization})
    classifier = build_classifier(recipe, images, random_source("resnet18"))
    loaded = list(loader_of(recipe, images.train, images.statistics, 0, train=False))
    assert [len(labels) for _, labels in loaded] == [5, 5, 2]
    ours = classifier.normalized(torch.from_numpy(images.train.images))
    assert torch.allclose(torch.cat([inputs for inputs, _ in loaded]), ours, atol=2e-6)
    assert torch.equal(torch.cat([labels for _, labels in loaded]), torch.from_numpy(images.train.labels))


def test_the_reference_augments_training_images_only() -> None:
    """Two epochs of its training loader differ, and neither is the images as they are."""
    images = make_images("cifar10", 12, seed=1)
    recipe = make_recipe("resnet18", "cifar10", 12, 1).model_copy(update={"normalization": "minmax"})
    train = loader_of(recipe, images.train, images.statistics, 0, train=True)
    (one, _), (other, _) = next(iter(train)), next(iter(train))
    assert not torch.equal(one, other)
    assert sorted(one.sum((1, 2, 3)).tolist()) != sorted((images.train.images / 255).sum((1, 2, 3)).tolist())


def test_both_sides_train_the_same_network() -> None:
    """From the same weights, without augmentation and in one batch: the same loss, before and after the step."""
    images = make_images("cifar10", 10, seed=1)
    recipe = make_recipe("resnet18", "cifar10", 10, 1)
    recipe = recipe.model_copy(update={"crop_padding": 0, "flip": False, "lr": 1e-4})
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
    assert Measured("m", "cifar10", "step", reference, engine, None).ratio == 2.0
    assert engine.rate == pytest.approx(10 / 3)


def test_the_projection_scales_training_and_evaluation_apart() -> None:
    """By hand: 1 s for 100 training images and 0.5 s for 20 test images, on CIFAR-10's 50,000 and 10,000."""
    epoch, judged = timing(1.5, 100), timing(0.5, 20)
    slow = Measured("resnet18", "cifar10", "epoch", replace(epoch, seconds=(3.0,)), epoch, None)
    whole = Measured("resnet18", "cifar10", "evaluation", replace(judged, seconds=(1.0,)), judged, None)
    hours = projected_hours([slow, whole])
    assert hours["engine"] == pytest.approx((500 * 1.0 + 500 * 0.5) * 100 * 4 / 3600)
    assert hours["reference"] == pytest.approx(2 * hours["engine"])


def test_arithmetic_is_counted() -> None:
    """resnet18 at 32 x 32 has 37,016,576 multiply-adds forward; backward twice that, less the input's gradient."""
    flops = step_flops(make_recipe("resnet18", "cifar10", 2, 1), 32, 10)
    forward = 2 * 37_016_576
    assert 2.9 * forward < flops < 3 * forward
    assert peak_flops(CPU) > 1e8 and copy_bandwidth(CPU) > 1e7


def test_each_piece_is_done_by_both_sides() -> None:
    """In rounds, after a rehearsal that does not count; of more images where a loader has to get going."""
    found = list(measure(["squeezenet1_1"], ["cifar10"], CPU, PLAIN, batch_size=4, batches=2, times=2))
    assert [each.piece for each in found] == list(PIECES)
    for each in found:
        assert len(each.reference.seconds) == len(each.engine.seconds) == 2
        assert all(seconds > 0 for seconds in (*each.reference.seconds, *each.engine.seconds))
    assert [each.engine.images for each in found] == [4 * LOADED, 4, 1, 8]


def test_the_command_prints_a_document() -> None:
    """JSON alone on stdout, with machine, versions, settings and what is made of them; progress on stderr."""
    arguments = ["bench", "--models", "squeezenet1_1", "--device", "cpu", "--batch-size", "4", "--batches", "1"]
    done = CliRunner().invoke(cli, [*arguments, "--times", "1", "--format", "json"], catch_exceptions=False)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["machine"]["torch"] == torch.__version__.partition("+")[0]
    assert re.match(r"[0-9a-f]{40}", document["machine"].get("commit", "0" * 40))
    assert document["settings"]["batch_size"] == 4 and "fused_input" in document["execution"]
    assert {row["piece"] for row in document["measurements"]} == set(PIECES)
    steps = [row for row in document["measurements"] if row["piece"] == "step"]
    assert all(0 < row["share_of_peak"] < 2 for row in steps)
    assert document["projection"]["engine"] > 0
    assert "squeezenet1_1 on cifar10: epoch" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "resnet"], "resnet18"),
        (["--datasets", "cifar"], "cifar100"),
        (["--accelerate", "fast"], "channels_last"),
        (["--device", "cuda:x"], "accepted: auto, cpu"),
    ],
)
def test_wrong_words_are_wrong_usage(arguments: list[str], words: str) -> None:
    """Exit code 2, and what is accepted."""
    with pytest.raises(UsageError) as refused:
        CliRunner().invoke(cli, ["bench", *arguments], catch_exceptions=False)
    assert words in str(refused.value.cure)
