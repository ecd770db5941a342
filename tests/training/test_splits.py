"""What a trial trains, chooses and tests on."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker.study.recipe import Recipe
from tracker.training.splits import draw_by_class, split_sizes, take_splits, trial_data
from tracker.vision.images import ImageSet


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=200).map(lambda labels: np.array(labels, dtype=np.int64)),
    st.data(),
)
def test_a_draw_keeps_the_classes_shares(labels: np.ndarray, data: st.DataObject) -> None:
    """Exactly `count` different positions, each class within one image of its share."""
    count = data.draw(st.integers(1, len(labels)))
    drawn = draw_by_class(labels, count, purpose="limit")
    assert len(drawn) == count == len(set(drawn.tolist()))
    assert np.array_equal(drawn, np.sort(drawn))
    for label in range(5):
        share = (labels == label).sum() * count / len(labels)
        assert abs((labels[drawn] == label).sum() - share) < 1


def test_validation_and_training_are_disjoint_and_whole(image_set: ImageSet, recipe: Recipe) -> None:
    """The validation images are taken from the training images, by class, and from nowhere else."""
    train, val, test, test_index = take_splits(recipe, image_set)
    assert val is not None
    assert (len(train), len(val), len(test)) == (72, 18, 45)
    pixels = [bytes(image) for split in (train, val) for image in split.images]
    assert sorted(pixels) == sorted(bytes(image) for image in image_set.train.images)
    assert np.bincount(val.labels).tolist() == [6, 6, 6]
    assert np.array_equal(test_index, np.arange(45))


def test_the_split_does_not_depend_on_the_trials_seed(image_set: ImageSet, recipe: Recipe) -> None:
    """Seeds vary the training, not the data: replicates are tested and chosen on the same images."""
    _, one, _, _ = take_splits(recipe, image_set)
    _, other, _, _ = take_splits(recipe.model_copy(update={"seed": 77}), image_set)
    assert one is not None
    assert other is not None
    assert np.array_equal(one.images, other.images)


def test_limits_draw_by_class_and_remember_which_test_images(image_set: ImageSet, recipe: Recipe) -> None:
    """A limited test split knows its positions, so that predictions of different runs can be paired."""
    limited = recipe.model_copy(update={"limit_train": 30, "limit_test": 9})
    train, val, test, test_index = take_splits(limited, image_set)
    assert val is not None
    assert (len(train), len(val), len(test)) == (24, 6, 9) == split_sizes(limited, 90, 45)
    assert np.array_equal(test.images, image_set.test.images[test_index])
    assert np.bincount(test.labels).tolist() == [3, 3, 3]


def test_limits_above_the_data_take_all_of_it(image_set: ImageSet, recipe: Recipe) -> None:
    """A limit larger than the split is no error."""
    roomy = recipe.model_copy(update={"limit_train": 10_000, "limit_test": 10_000, "val_fraction": 0.0})
    data = trial_data(roomy, image_set, torch.device("cpu"))
    assert (len(data.train), data.val, len(data.test)) == (90, None, 45)
