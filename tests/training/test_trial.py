"""The training loop: deterministic, paired, faithful to the recipe."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tracker.study.errors import DataError, NotFinite, Stopped
from tracker.study.recipe import Recipe
from tracker.training.evaluate import evaluate
from tracker.training.position import Position
from tracker.training.splits import DeviceSplit, trial_data
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, learning_rate, run_epochs
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.sources import Source, random_source

CPU = torch.device("cpu")


def train(recipe: Recipe, image_set: ImageSet, source: Source | None = None) -> tuple[Classifier, list[EpochResult]]:
    """Train to the end on the CPU."""
    classifier = build_classifier(recipe, image_set, source or random_source(recipe.model))
    return classifier, list(run_epochs(recipe, classifier, trial_data(recipe, image_set, CPU), CPU))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_recipe_gives_the_same_bits(image_set: ImageSet, recipe: Recipe, threads: int) -> None:
    """Nothing outside the recipe decides a result, the global generator included."""
    torch.set_num_threads(threads)
    recipe = recipe.model_copy(update={"limit_train": 30, "epochs": 3 - threads})
    torch.manual_seed(1)
    one, first = train(recipe, image_set)
    torch.manual_seed(2)
    other, second = train(recipe, image_set)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert [r.metrics["train_loss"] for r in first] == [r.metrics["train_loss"] for r in second]
    assert all(torch.equal(a.predictions, b.predictions) for a, b in zip(first, second, strict=True))
    assert len(first) == 3 - threads


def test_another_seed_gives_another_result(image_set: ImageSet, recipe: Recipe) -> None:
    """The seed is not ignored."""
    short = recipe.model_copy(update={"epochs": 1, "limit_train": 30})
    _, first = train(short, image_set)
    _, second = train(short.model_copy(update={"seed": 2}), image_set)
    assert first[0].metrics["train_loss"] != second[0].metrics["train_loss"]


def test_it_learns(image_set: ImageSet, recipe: Recipe) -> None:
    """Stripes are easy: a few epochs are enough for nearly all of them, flips and crops aside."""
    patient = {"epochs": 8, "batch_size": 16, "flip": False, "crop_padding": 0, "val_fraction": 0.0}
    _, results = train(recipe.model_copy(update=patient), image_set)
    assert results[-1].metrics["test_acc"] > 0.9
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]


def test_every_metric_of_an_epoch_is_there_and_true(image_set: ImageSet, recipe: Recipe) -> None:
    """Metrics have the documented names, and test_acc is the share of predictions that are right."""
    _, results = train(recipe, image_set)
    assert [result.epoch for result in results] == [0, 1]
    for result in results:
        assert set(result.metrics) == {
            "train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "lr", "epoch_seconds",
            "images_per_second",
        }  # fmt: skip
        right = (result.predictions.numpy() == image_set.test.labels).mean()
        assert result.metrics["test_acc"] == pytest.approx(right)
        assert 0 < result.metrics["epoch_seconds"] < 60
    assert results[-1].selection.best_acc == max(result.metrics["test_acc"] for result in results)


def test_without_validation_split_there_are_no_validation_metrics(image_set: ImageSet, recipe: Recipe) -> None:
    """Nothing but a validation split may be called val."""
    _, results = train(recipe.model_copy(update={"val_fraction": 0.0, "epochs": 1}), image_set)
    assert not [name for name in results[0].metrics if name.startswith("val")]
    assert results[0].selection.selected_acc is None


def test_a_step_is_torchs_own(image_set: ImageSet, recipe: Recipe) -> None:
    """One epoch of one batch equals a hand-written Adam step on the same images."""
    plain = recipe.model_copy(
        update={"epochs": 1, "batch_size": 90, "val_fraction": 0.0, "crop_padding": 0, "flip": False}
    )
    trained, results = train(plain, image_set)
    by_hand = build_classifier(plain, image_set, random_source("resnet18"))
    by_hand.train()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.001)
    loss = F.cross_entropy(by_hand(torch.from_numpy(image_set.train.images)), torch.from_numpy(image_set.train.labels))
    loss.backward()
    optimizer.step()
    assert results[0].metrics["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(trained.head.weight, by_hand.head.weight, atol=1e-4)  # type: ignore[arg-type]


def test_cells_that_differ_in_normalization_are_paired(image_set: ImageSet, recipe: Recipe) -> None:
    """Two normalizations see the same images in the same order from the same weights.

    With the statistics (0, 1) a z-score is minmax, so the two trials must be one and the same.
    """
    neutral = ImageSet(
        image_set.name, image_set.train, image_set.test, image_set.classes, Statistics((0.0,), (1.0,)), "0" * 16
    )
    short = recipe.model_copy(update={"limit_train": 30})
    _, as_zscore = train(short, neutral)
    _, as_minmax = train(short.model_copy(update={"normalization": "minmax"}), neutral)
    assert [r.metrics["train_loss"] for r in as_zscore] == [r.metrics["train_loss"] for r in as_minmax]


def test_grayscale_images_are_fine_tuned_from_a_colour_source(image_set: ImageSet, recipe: Recipe) -> None:
    """The image is repeated for the three channels; finetune's one pair of statistics too, pretrain keeps its three."""
    network, _ = build_network("resnet18", channels=3, classes=1000, seed=5)
    imagenet = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    source = Source("torchvision", "resnet18", 3, imagenet, network.state_dict(), "a test's")
    for setting, mean in (("finetune", image_set.statistics.mean * 3), ("pretrain", imagenet.mean)):
        chosen = recipe.model_copy(update={"normalization": setting, "epochs": 1})
        classifier, results = train(chosen, image_set, source)
        assert classifier.state_dict()["normalization.mean"].flatten().tolist() == pytest.approx(mean)
        assert len(results[0].predictions) == 45
    started = build_classifier(recipe, image_set, source)
    assert torch.equal(started.network.state_dict()["conv1.weight"], network.state_dict()["conv1.weight"])


def test_weights_ported_from_tensorflow_get_its_range(image_set: ImageSet, recipe: Recipe) -> None:
    """GoogLeNet with torchvision's weights maps what is z-scored for ImageNet to [-1, 1] first, as torchvision does."""
    recipe = recipe.model_copy(update={"model": "googlenet", "source": "torchvision", "normalization": "finetune"})
    random = random_source("googlenet")
    assert build_classifier(recipe, image_set, random).network.transform_input is False
    state = build_network("googlenet", channels=3, classes=4, seed=0)[0].state_dict()
    ported = replace(random, name="torchvision", channels=3, state=state)
    assert build_classifier(recipe, image_set, ported).network.transform_input is True


def test_head_tuning_leaves_the_backbone_bit_for_bit(image_set: ImageSet, recipe: Recipe) -> None:
    """With `tune: head` the backbone, BatchNorm statistics included, ends as it began; the head does not."""
    head_only = recipe.model_copy(update={"tune": "head"})
    before = build_classifier(head_only, image_set, random_source("resnet18"))
    after, _ = train(head_only, image_set)
    for name, tensor in before.backbone_state().items():
        assert torch.equal(tensor, after.backbone_state()[name]), name
    assert not torch.equal(before.head.weight, after.head.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [1, 4, 100])
def test_the_learning_rate_is_torchs_cosine_once_an_epoch(recipe: Recipe, epochs: int) -> None:
    """Epoch by epoch the rate equals CosineAnnealingLR's; constant stays."""
    cosine = recipe.model_copy(update={"epochs": epochs, "lr": 0.01})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        assert learning_rate(cosine, epoch) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert learning_rate(cosine.model_copy(update={"schedule": "constant"}), epochs - 1) == 0.01


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_optimizer_is_the_recipes(image_set: ImageSet, recipe: Recipe, name: str, kind: type) -> None:
    """Each name builds torch's optimizer with the recipe's numbers."""
    chosen = recipe.model_copy(update={"optimizer": name, "lr": 0.02, "weight_decay": 0.1})
    optimizer = build_optimizer(chosen, build_classifier(chosen, image_set, random_source("resnet18")))
    assert type(optimizer) is kind
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.02, 0.1)


def test_the_short_last_batch_is_kept(image_set: ImageSet, recipe: Recipe) -> None:
    """Every training image counts: 72 images in batches of 32 are 3 steps, the last of 8."""
    classifier = build_classifier(recipe, image_set, random_source("resnet18"))
    sizes: list[int] = []
    classifier.network.register_forward_hook(
        lambda module, args, out: sizes.append(len(out)) if module.training else None
    )
    next(run_epochs(recipe, classifier, trial_data(recipe, image_set, CPU), CPU))
    assert sizes == [32, 32, 8]


def test_a_loss_that_is_not_finite_stops_the_trial(image_set: ImageSet, recipe: Recipe) -> None:
    """The error names metric and epoch: of training, or of evaluation where weights are lost in the last step."""
    wild = recipe.model_copy(
        update={"optimizer": "sgd", "lr": 100.0, "weight_decay": 10.0, "epochs": 30, "schedule": "constant"}
    )
    with pytest.raises(NotFinite, match=r"_loss is (nan|inf) (from step \d of|after) epoch \d+"):
        train(wild, image_set)


def test_the_step_that_made_a_loss_infinite_is_named(image_set: ImageSet, recipe: Recipe) -> None:
    """The first one, however many came after it; counted from 0, as epochs are."""
    wide = recipe.model_copy(update={"batch_size": 8, "tune": "head", "epochs": 1})
    for spoiled, position in ((0, Position()), (5, Position()), (6, Position(step=3))):
        classifier = build_classifier(wide, image_set, random_source("resnet18"))
        head, steps = cast(torch.nn.Linear, classifier.head), itertools.count(position.step)

        def spoil(module: torch.nn.Module, args: object, out: torch.Tensor, at: int = spoiled) -> torch.Tensor | None:
            return out * float("nan") if next(steps) == at else None  # noqa: B023

        head.register_forward_hook(spoil)
        epochs = run_epochs(wide, classifier, trial_data(wide, image_set, CPU), CPU, position=position)
        with pytest.raises(NotFinite, match=f"train_loss is nan from step {spoiled} of epoch 0 on"):
            next(epochs)


@pytest.mark.parametrize("name", ["val_loss", "test_loss"])
def test_a_network_that_diverged_in_evaluation_only_stops_the_trial_too(
    image_set: ImageSet, recipe: Recipe, name: str
) -> None:
    """BatchNorm trains on its batch, and evaluates on what it recorded: an accuracy of such a network means nothing."""
    chosen = recipe.model_copy(update={"epochs": 1, "val_fraction": 0.2 if name == "val_loss" else 0.0})
    classifier = build_classifier(chosen, image_set, random_source("resnet18"))
    norm = next(module for module in classifier.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean.fill_(float("nan"))
    with pytest.raises(NotFinite, match=f"{name} is nan after epoch 0"):
        next(run_epochs(chosen, classifier, trial_data(chosen, image_set, CPU), CPU))


def test_a_trial_stops_between_two_steps_when_asked(image_set: ImageSet, recipe: Recipe) -> None:
    """`stop` is asked before each step; the next one is not begun."""
    classifier = build_classifier(recipe, image_set, random_source("resnet18"))
    answers = iter([False, True])
    epochs = run_epochs(recipe, classifier, trial_data(recipe, image_set, CPU), CPU, stop=lambda: next(answers))
    with pytest.raises(Stopped):
        next(epochs)


def test_published_statistics_of_an_unpublished_dataset_are_refused(image_set: ImageSet, recipe: Recipe) -> None:
    """`statistics: published` has no meaning for one's own images."""
    with pytest.raises(DataError, match="stripes"):
        build_classifier(recipe.model_copy(update={"statistics": "published"}), image_set, random_source("resnet18"))


def test_published_statistics_are_not_those_of_a_shifted_dataset(image_set: ImageSet, recipe: Recipe) -> None:
    """What is published describes the images as they are; a shift with it is refused before anything is trained."""
    other = recipe.model_copy(update={"statistics": "published", "shift": "gain=0.5"})
    with pytest.raises(DataError, match=r"under shift gain=0\.5"):
        build_classifier(other, replace(image_set, name="cifar10"), random_source("resnet18"))


@pytest.mark.parametrize("batch_size", [1, 7, 45, 1000])
def test_evaluation_counts_every_image_once(image_set: ImageSet, recipe: Recipe, batch_size: int) -> None:
    """Loss and accuracy do not depend on the batch, ragged last one included."""
    classifier = build_classifier(recipe, image_set, random_source("resnet18"))
    split = DeviceSplit(torch.from_numpy(image_set.test.images), torch.from_numpy(image_set.test.labels))
    result = evaluate(classifier, split, batch_size)
    with torch.no_grad():
        logits = classifier.eval()(split.images)
    assert result.loss == pytest.approx(F.cross_entropy(logits, split.labels).item(), rel=1e-5)
    assert np.array_equal(result.predictions.numpy(), logits.argmax(1).numpy())
    assert math.isclose(result.accuracy, (logits.argmax(1) == split.labels).double().mean().item())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_trial_sees_what_a_cpu_trial_sees(image_set: ImageSet, recipe: Recipe) -> None:
    """On CUDA the first epoch's loss is the CPU's to float32's accuracy: same images, same order, same weights."""
    device = torch.device("cuda", 0)
    classifier = build_classifier(recipe, image_set, random_source("resnet18")).to(device)
    result = next(run_epochs(recipe, classifier, trial_data(recipe, image_set, device), device))
    _, on_cpu = train(recipe, image_set)
    assert result.metrics["train_loss"] == pytest.approx(on_cpu[0].metrics["train_loss"], rel=0.02)
