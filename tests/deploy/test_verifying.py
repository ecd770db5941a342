"""An export that differs from its original is found out, and one that does not is let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.deploy.swept import Swept
from tracker.deploy.checkpoints import Kept, load_kept
from tracker.deploy.choosing import Choice, choose
from tracker.deploy.describing import describe
from tracker.deploy.exporting import content_of
from tracker.deploy.opening import run_torch
from tracker.deploy.pipeline import Pipeline, save_torch
from tracker.deploy.verifying import COUNT, Probe, Run, probe, verify
from tracker.study.errors import TrackerError
from tracker.study.home import Home


@pytest.fixture(scope="module")
def choice(swept: Swept) -> Choice:
    """The best cell."""
    return choose(swept.study, swept.runs(), "best", "best_acc")


@pytest.fixture(scope="module")
def kept(swept: Swept, choice: Choice, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Its checkpoint."""
    return load_kept(swept.uri, choice, "swept", tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def run(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its export, read back from disk."""
    path = tmp_path_factory.mktemp("export") / "model.pt2"
    save_torch(Pipeline(kept.classifier, kept.facts.image_size).eval(), 1, "{}", path)
    return run_torch(path)


@pytest.fixture(scope="module")
def images(swept: Swept, choice: Choice, kept: Kept) -> Probe:
    """What it is verified with."""
    return probe(choice, kept.facts, 1, kept.rule, swept.home, swept.uri)


def test_test_images_with_what_the_sweep_made_of_them(images: Probe) -> None:
    """With the dataset here, the images are those that the run was judged on, each with its prediction."""
    assert images.what == "test images of five"
    assert images.images.shape == (40, 1, 32, 32)
    assert images.predicted is not None
    assert len(set(images.predicted.tolist())) >= 3


def test_noise_where_the_dataset_is_not_here(choice: Choice, kept: Kept, swept: Swept, home: Home) -> None:
    """Elsewhere it is seeded noise, and said to be; nothing is downloaded or packed."""
    first, again = (probe(choice, kept.facts, 1, kept.rule, home, swept.uri) for _ in range(2))
    assert first.what.startswith("images of noise, since dataset five")
    assert first.images.shape == (COUNT, 1, 32, 32)
    assert first.predicted is None
    np.testing.assert_array_equal(first.images, again.images)
    assert not home.data.exists()


def test_an_export_agrees(kept: Kept, run: Run, images: Probe) -> None:
    """On a CPU a convolutional network's export gives the same bits; so does its resize."""
    result = verify(kept.classifier, run, images, 32)
    assert (result.images, result.same_class, result.as_swept) == (40, 40, 40)
    assert result.max_difference <= 1e-5
    assert result.resized[2] <= 1e-5
    assert result.resized[0] != result.resized[1]


def test_any_number_and_size_of_images(kept: Kept, run: Run) -> None:
    """The file takes one image and many, of any height and width, and gives probabilities."""
    for shape in ((1, 1, 32, 32), (3, 1, 100, 45), (2, 1, 1, 7)):
        found = run(np.zeros(shape, dtype=np.uint8))
        assert found.shape == (shape[0], 5)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def swapped(found: np.ndarray) -> np.ndarray:
    """Two classes interchanged."""
    return found[:, [1, 0, *range(2, found.shape[1])]]


def test_what_differs_is_refused(kept: Kept, run: Run, images: Probe) -> None:
    """A difference of a thousandth, interchanged classes, a NaN, another resize: each is refused, with the numbers."""

    def unlike(batch: np.ndarray) -> np.ndarray:
        return run(batch if batch.shape[2] == batch.shape[3] else np.ascontiguousarray(batch[:, :, ::-1]))

    wrong: list[Run] = [
        lambda batch: run(batch) + np.float32(1e-3),
        lambda batch: swapped(run(batch)),
        lambda batch: np.full_like(run(batch), np.nan),
        lambda batch: run(batch)[:, :4],
        unlike,
    ]
    for each in wrong:
        with pytest.raises(TrackerError, match="does not agree with the network it was made of"):
            verify(kept.classifier, each, images, 32)


def test_a_checkpoint_that_is_not_what_was_evaluated(kept: Kept, run: Run, images: Probe) -> None:
    """Where the sweep itself predicted something else, the checkpoint is not its network."""
    assert images.predicted is not None
    others = Probe(images.images, images.what, (images.predicted + 1) % 5)
    with pytest.raises(TrackerError, match="for 0 of 40 test images of five only"):
        verify(kept.classifier, run, others, 32)


def test_content_is_what_decides_the_answers(kept: Kept, choice: Choice, swept: Swept, tmp_path: Path) -> None:
    """Fetched and described again it is the same content; another cell, or another format, is another."""
    described = describe("swept", choice, kept, 1, "mlflow")
    content = content_of(kept, described)
    again = load_kept(swept.uri, choice, "swept", tmp_path)
    reworded = {**describe("swept", choice, again, 1, "mlflow"), "chosen": ["for another reason"]}
    assert content_of(again, reworded) == content
    other = choose(swept.study, swept.runs(), swept.cell("finetune", 1).id, "best_acc")
    kept_other = load_kept(swept.uri, other, "swept", tmp_path)
    assert content_of(kept_other, describe("swept", other, kept_other, 1, "mlflow")) != content
    assert content_of(kept, describe("swept", choice, kept, 1, "onnx")) != content
