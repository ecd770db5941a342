"""What a trial has so far, epoch by epoch."""

from __future__ import annotations

import weakref

import torch
from torch import nn

from tests.training.attempts import CPU, few_images, short_recipe
from tests.training.small_network import small_network
from tracker.training.changing import changing
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.sources import random_source


def test_each_rule_keeps_the_predictions_and_weights_of_its_epoch() -> None:
    """Best and selected stay as they were when their epoch was done, whatever is trained after it."""
    recipe, images = short_recipe("mobilenet_v3_small", epochs=6), few_images(32)
    classifier, state = build_classifier(recipe, images, random_source(recipe.model)), TrialState()
    weights, predictions = [], []
    for result in run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, position=state.position):
        state.add(result, classifier, moment_ms=1000 + result.epoch)
        weights.append({name: tensor.clone() for name, tensor in classifier.state_dict().items()})
        predictions.append(result.predictions)
    chosen = state.position.selection
    assert 0 <= chosen.best_epoch < 5, "the images are too easy for this test: the last epoch is the best one"
    assert chosen.selected_epoch is not None
    for rule, epoch in (("best", chosen.best_epoch), ("last", 5), ("selected", chosen.selected_epoch)):
        assert torch.equal(state.predictions[rule], predictions[epoch]), rule
    best = state.best_weights(classifier)
    assert best.keys() == classifier.state_dict().keys()
    for name, tensor in weights[chosen.best_epoch].items():
        assert torch.equal(best[name], tensor), name
    assert not torch.equal(best["network.features.0.0.weight"], weights[-1]["network.features.0.0.weight"])


def test_the_history_has_each_epochs_moment_and_running_choice() -> None:
    """What is logged of an epoch can be logged again from the history alone."""
    recipe, images = short_recipe(tune="head"), few_images(8)
    classifier, state = build_classifier(recipe, images, random_source(recipe.model)), TrialState()
    for result in run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, position=state.position):
        state.add(result, classifier, moment_ms=1000 + result.epoch)
        assert state.history[-1] == (1000 + result.epoch, {**result.metrics, **result.selection.metrics()})
    assert len(state.history) == 3
    best = [metrics["best_acc"] for _, metrics in state.history]
    assert best == sorted(best)


def test_tensors_are_listed_anew_when_they_are_others() -> None:
    """A walk through a network is saved as long as its tensors, their places and what learns are the same."""
    classifier = small_network()
    weight, norm = classifier.head.weight, classifier.network[1]
    first = changing(classifier)
    assert all(one is other for one, other in zip(changing(classifier).values(), first.values(), strict=True))

    weight.data = weight.data.clone()  # as `.to()` does
    assert changing(classifier)["network.8.weight"].data_ptr() == weight.data_ptr()
    norm.running_mean = torch.ones(16)
    assert torch.equal(changing(classifier)["network.1.running_mean"], torch.ones(16))
    norm.register_buffer("seen", torch.tensor(3))
    assert changing(classifier)["network.1.seen"] == 3
    classifier.network[7] = nn.Linear(3, 16)
    assert {"network.7.weight", "network.7.bias"} <= changing(classifier).keys()
    classifier.set_trainable("head")
    assert {name for name in changing(classifier) if name.endswith("weight")} == {"network.8.weight"}


def test_tensors_that_a_module_makes_when_it_is_asked_are_not_remembered() -> None:
    """A hook of a state_dict may add what no module holds."""
    classifier = small_network()
    weight = classifier.head.weight
    classifier.head.register_state_dict_post_hook(lambda _, found, prefix, __: found.update({"more": weight + 1}))
    for _ in range(2):
        assert torch.equal(changing(classifier)["more"], weight + 1)
        with torch.no_grad():
            weight += 1


def test_a_listing_does_not_keep_a_classifier() -> None:
    """A worker trains hundreds."""
    classifier = small_network()
    changing(classifier)
    gone = weakref.ref(classifier)
    del classifier
    assert gone() is None


def test_what_stays_frozen_is_not_kept() -> None:
    """With `tune: head` the head and the buffers can change; with `tune: full` everything can."""
    images = few_images(8)
    full = build_classifier(short_recipe(), images, random_source("resnet18"))
    assert changing(full).keys() == full.state_dict().keys()
    head = build_classifier(short_recipe(tune="head"), images, random_source("resnet18"))
    names = set(changing(head))
    assert {"network.fc.weight", "network.fc.bias", "network.bn1.running_mean", "normalization.mean"} <= names
    assert names == {"network.fc.weight", "network.fc.bias"} | {name for name, _ in head.named_buffers()}
