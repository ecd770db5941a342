"""Which network a user wants to start from, told in a word."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchvision

from tracker.study.errors import SourceError, UsageError
from tracker.study.extensions import NAME
from tracker.study.home import Home
from tracker.vision.checkpoint import read_checkpoint
from tracker.vision.images import Statistics
from tracker.vision.models import check_model, model_names
from tracker.vision.sources import WeightsFile, find_source, weights_file

USUAL_WEIGHTS = "IMAGENET1K_V1"


@dataclass(frozen=True)
class ChosenSource:
    """A source, as a recipe names it, and what is known of it without loading it.

    Args:
        name: `torchvision`, `random`, or one made by `tracker pretrain`.
        model: the network.
        channels: it takes; None for random weights, which take what the images have.
        statistics: what it was trained with; None for random weights.
        weights: which of torchvision's; None for another source.
        file: those weights' file, which need not be there; None for another source.
        fingerprint: of what a source of this name was made from; two of one name differ in it.
    """

    name: str
    model: str
    channels: int | None
    statistics: Statistics | None
    weights: str | None = None
    file: WeightsFile | None = None
    fingerprint: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from another source, as JSON values."""
        return {"name": self.name, "model": self.model, "weights": self.weights, "fingerprint": self.fingerprint}

    @property
    def recipe(self) -> dict[str, str]:
        """The keys of a recipe that choose it."""
        keys = {"model": self.model, "source": self.name}
        return keys if self.weights in (None, USUAL_WEIGHTS) else {**keys, "weights": str(self.weights)}

    def __str__(self) -> str:
        if self.name == "random":
            return f"{self.model} with random weights"
        return f"{self.model} with {self.weights}" if self.weights else f"{self.model} of source {self.name}"

    def require(self) -> None:
        """See that its weights are on this machine.

        Raises:
            SourceMissing: they are not; says which command gets them.
        """
        if self.file is not None and not self.file.path.is_file():
            raise self.file.missing


def choose_source(word: str, home: Home, weights_dir: Path | None = None) -> ChosenSource:
    """Find what a word names: a torchvision model, or a source made here.

    Args:
        word: `resnet18` (torchvision's weights), `NAME` or `NAME:MODEL` of a source in the home folder,
            `random:MODEL`.

    Raises:
        UsageError: it names nothing, or several; says what there is.
        SourceError: there are several sources of that name and model.
        DataDamaged: its checkpoint is damaged.
    """
    name, colon, model = word.partition(":")
    if not colon:
        if word in model_names():
            return _torchvision(word, home, weights_dir)
        model = _only_model(word, home)
    if name == "random":
        check_model(model)
        return ChosenSource(name, model, None, None)
    if name == "torchvision":
        if model not in model_names():
            raise UsageError(f"torchvision has no classifier {model!r}", _near(model))
        return _torchvision(model, home, weights_dir)
    if not all(re.fullmatch(NAME, part) for part in (name, model)):
        raise UsageError(f"--source {word!r} names no source", _known(home))
    facts, _ = read_checkpoint(find_source(home, name, model))
    if facts.model != model:
        raise SourceError(f"the source {name} for {model} is of {facts.model}", "make it again with `tracker pretrain`")
    return ChosenSource(name, model, facts.channels, facts.target, fingerprint=facts.identity)


def _torchvision(model: str, home: Home, weights_dir: Path | None) -> ChosenSource:
    names = list(torchvision.models.get_model_weights(model).__members__)
    weights = USUAL_WEIGHTS if USUAL_WEIGHTS in names else names[0]
    file = weights_file(model, weights, home=home, weights_dir=weights_dir)
    return ChosenSource("torchvision", model, file.statistics.channels, file.statistics, weights, file)


def _only_model(name: str, home: Home) -> str:
    """Return the one model that a source made here was pre-trained for."""
    models = _made_here(home).get(name, [])
    if not models:
        raise UsageError(
            f"--source {name!r} is neither a torchvision model nor a source made here", f"{_near(name)}; {_known(home)}"
        )
    if len(models) > 1:
        named = ", ".join(f"{name}:{model}" for model in models)
        raise UsageError(f"--source {name!r} was made for {len(models)} models", f"name one of {named}")
    return models[0]


def _made_here(home: Home) -> dict[str, list[str]]:
    """Return the sources in the home folder, each with its models."""
    found: dict[str, set[str]] = {}
    for path in home.sources.glob("*/*-*.safetensors"):
        found.setdefault(path.parent.name, set()).add(path.stem.rpartition("-")[0])
    return {name: sorted(models) for name, models in sorted(found.items())}


def _near(word: str) -> str:
    near = difflib.get_close_matches(word, model_names(), n=3) or ["resnet18", "resnet50", "densenet121"]
    return f"torchvision has, among others: {', '.join(near)}"


def _known(home: Home) -> str:
    return f"made here: {', '.join(_made_here(home)) or 'none (tracker pretrain makes one)'}"
