"""What a worker keeps between cells, so that neighbours share it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.study.study import Cell
from tracker.sweep.sources import cell_source
from tracker.training.execution import Execution, parse_execution
from tracker.training.selfcheck import with_usable_input
from tracker.training.splits import TrialData, trial_data
from tracker.training.verdicts import agreed_execution
from tracker.vision.images import ImageSet
from tracker.vision.models import Classifier
from tracker.vision.raw_shift import open_shifted
from tracker.vision.shift import ShiftMeter
from tracker.vision.sources import Source


class Workbench:
    """What a worker keeps between cells: opened image sets, their copies on the device, loaded sources, shifts."""

    def __init__(self, home: Home, device: torch.device, weights_dir: Path | None) -> None:
        self.home = home
        self.device = device
        self._weights_dir = weights_dir
        self._images: dict[tuple[str, str], ImageSet] = {}
        self._data: tuple[tuple[object, ...], TrialData] | None = None
        self._source: tuple[tuple[object, ...], Source] | None = None
        self._executions: dict[tuple[object, ...], Execution] = {}
        self._said: set[str] = set()
        self.shifts = ShiftMeter(home)

    def images(self, recipe: Recipe, spec: DatasetSpec) -> ImageSet:
        """Open a dataset, shifted as the recipe says, once."""
        key = (recipe.dataset, recipe.shift)
        if key not in self._images:
            self._images[key] = open_shifted(recipe, spec, self.home)
        return self._images[key]

    def data(self, cell: Cell, images: ImageSet) -> TrialData:
        """Move a cell's splits to the device; the last ones are kept, since neighbours share them."""
        recipe = cell.recipe
        key = (recipe.dataset, recipe.shift, recipe.limit_train, recipe.limit_test, recipe.val_fraction)
        if self._data is None or self._data[0] != key:
            self._data = None  # free the old ones before the new ones are made
            self._data = (key, trial_data(recipe, images, self.device))
        return self._data[1]

    def forget(self) -> None:
        """Let go of what lies on the device."""
        self._data = None

    def source(self, cell: Cell) -> Source:
        """Load a cell's source; the last one is kept, since neighbours share it."""
        key = (cell.recipe.source, cell.recipe.model, cell.recipe.weights, cell.source_id)
        if self._source is None or self._source[0] != key:
            self._source = (key, cell_source(cell, self.home, self._weights_dir))
        return self._source[1]

    def execution(
        self, recipe: Recipe, classifier: Classifier, data: TrialData, accelerate: str, say: Callable[[str], None]
    ) -> Execution:
        """Return what is asked for where it does what the plain path does, held against it at first sight here.

        The input pipeline holds itself against the plain one, bit by bit and for each cell: the rest of the network
        does not depend on the normalization.

        Args:
            accelerate: what `parse_execution` reads.
            say: told, once for each sentence, why it is not what was asked for.
        """
        say = partial(self._say_once, say)
        if data.notice is not None:
            say(data.notice)
        wanted = with_usable_input(recipe, classifier, data.train, parse_execution(accelerate, self.device), say)
        shape = (data.train.images.shape[1:], classifier.channels)
        key = (recipe.model, recipe.tune, recipe.optimizer, recipe.precision, shape, wanted)
        if key not in self._executions:
            self._executions[key] = agreed_execution(recipe, classifier, data.train, self.device, wanted, say)
        return self._executions[key]

    def _say_once(self, say: Callable[[str], None], text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)
