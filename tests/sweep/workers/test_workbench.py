"""What a worker keeps between cells, and tells of them."""

from __future__ import annotations

from pathlib import Path

from tests.training.attempts import CPU, few_images, short_recipe
from tracker.study.home import Home
from tracker.sweep.workers.workbench import Workbench
from tracker.training.execution import PLAIN
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier
from tracker.vision.sources import random_source


def test_images_that_do_not_fit_on_the_device_are_told_of_once(tmp_path: Path) -> None:
    """Not with each of a worker's cells."""
    bench, said = Workbench(Home(tmp_path), CPU, None), list[str]()
    recipe, images = short_recipe("mobilenet_v3_small"), few_images(32)
    classifier, data = build_classifier(recipe, images, random_source(recipe.model)), trial_data(recipe, images, CPU, 0)
    for _ in range(2):
        assert bench.execution(recipe, classifier, data, "plain", said.append) == PLAIN
    assert said == [data.notice] and data.notice is not None
