"""Sources: where starting weights come from, with the statistics they were trained with."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor

from tracker.study.errors import DataDamaged, SourceError, SourceMissing, UsageError
from tracker.study.home import Home
from tracker.vision.checkpoint import read_checkpoint
from tracker.vision.images import Statistics
from tracker.vision.models import AUXILIARY, model_names, without_weights


@dataclass(frozen=True)
class Source:
    """Starting weights of one model.

    Args:
        name: as in the recipe.
        model: torchvision's name of the network.
        channels: C of its input; None for random weights, which take what the images have.
        statistics: what its training images were normalized with; None for random weights.
        state: the network's tensors by name, the head's not needed; None for random weights.
        fingerprint: tells two sources of one name apart; logged with every run.
    """

    name: str
    model: str
    channels: int | None
    statistics: Statistics | None
    state: Mapping[str, Tensor] | None = field(repr=False)
    fingerprint: str


def random_source(model: str) -> Source:
    """Return the source that is none: seeded random weights, without statistics."""
    return Source("random", model, None, None, None, "random")


@dataclass(frozen=True)
class WeightsFile:
    """One of torchvision's weights as a file.

    Args:
        label: as `resnet18 IMAGENET1K_V1`.
        url: where torchvision has it from; its name carries the first 8 hex digits of its SHA-256.
        path: where it is, or would be, on this machine.
        megabytes: its size, as torchvision tells.
        statistics: what it was trained with, from the weights' own metadata.
    """

    label: str
    url: str
    path: Path
    megabytes: float
    statistics: Statistics

    @property
    def missing(self) -> SourceMissing:
        """The error that says the file is not here, and the cure."""
        return SourceMissing(
            f"weights {self.label} are not on this machine ({self.megabytes:.0f} MB, looked for {self.path})",
            f"tracker data fetch --weights {self.label.replace(' ', ':')}; "
            f"or put the file of {self.url} into --weights-dir DIR",
        )


def weights_file(model: str, weights: str, *, home: Home, weights_dir: Path | None = None) -> WeightsFile:
    """Find the file of torchvision's weights: in `weights_dir`, torch hub's cache, or the home folder.

    Raises:
        UsageError: no such model or weights; names those there are.
    """
    if model not in model_names():
        raise without_weights(model)
    enum = torchvision.models.get_model_weights(model)
    if weights not in enum.__members__:
        raise UsageError(f"{model} has no weights {weights!r}", f"accepted: {', '.join(enum.__members__)}")
    return _weights_file(model, weights, enum[weights].value, home, weights_dir)


def _weights_file(model: str, name: str, weights: Any, home: Home, weights_dir: Path | None) -> WeightsFile:
    preset = weights.transforms()
    file_name = Path(urlparse(weights.url).path).name
    places = [home.weights, Path(torch.hub.get_dir()) / "checkpoints"]
    if weights_dir is not None:
        places = [weights_dir]  # asked for explicitly: nothing else is quietly taken instead
    paths = [place / file_name for place in places]
    return WeightsFile(
        label=f"{model} {name}",
        url=weights.url,
        path=next((path for path in paths if path.is_file()), paths[0]),
        megabytes=float(weights.meta.get("_file_size", 0)),
        statistics=Statistics(tuple(preset.mean), tuple(preset.std)),
    )


def torchvision_source(model: str, file: WeightsFile) -> Source:
    """Load torchvision's weights from their file.

    The SHA-256 is checked against the file's name and the file is read without executing anything in it.

    Raises:
        SourceMissing: the file is not on this machine.
        DataDamaged: it is truncated or altered.
    """
    if not file.path.is_file():
        raise file.missing
    digest = _sha256(file.path)
    expected = file.path.stem.rpartition("-")[2]
    if len(expected) != 8 or not digest.startswith(expected):
        raise DataDamaged(
            f"{file.path}: is damaged: its SHA-256 starts with {digest[:8]}, not {expected}",
            f"delete it and fetch it again: tracker data fetch --weights {file.label.replace(' ', ':')}",
        )
    try:
        state = torch.load(file.path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DataDamaged(
            f"{file.path}: cannot be read as weights ({error})", "delete it and fetch it again"
        ) from error
    auxiliary = AUXILIARY.get(model, ())
    state = {_current_name(name): tensor for name, tensor in state.items() if not name.startswith(auxiliary)}
    return Source("torchvision", model, file.statistics.channels, file.statistics, state, f"{file.label} {digest[:16]}")


def _current_name(name: str) -> str:
    """Turn a DenseNet tensor's old name (`norm.1`, `conv.2`) into today's (`norm1`, `conv2`), as torchvision does."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name)


def source_path(home: Home, name: str, model: str, identity: str) -> Path:
    """Return where the source `name`, pre-trained for `model`, is kept."""
    return home.sources / name / f"{model}-{identity}.safetensors"


def find_source(home: Home, name: str, model: str) -> Path:
    """Find a source made by `tracker pretrain` by its name.

    Raises:
        SourceMissing: there is none.
        SourceError: there are several.
    """
    found = sorted((home.sources / name).glob(f"{model}-*.safetensors"))
    if not found:
        raise SourceMissing(
            f"there is no source {name!r} for {model} under {home.sources}",
            f"tracker pretrain --name {name} --model {model} --dataset DATASET",
        )
    if len(found) > 1:
        raise SourceError(
            f"there are {len(found)} sources {name!r} for {model}: {', '.join(path.name for path in found)}",
            "keep one of them, or define the source in the study's `sources` section",
        )
    return found[0]


def checkpoint_source(name: str, path: Path) -> Source:
    """Load a source that was pre-trained here.

    Its statistics are those of the dataset it was trained on: u0 and std0 of the question.

    Raises:
        SourceMissing, DataDamaged: as `read_checkpoint`.
    """
    facts, tensors = read_checkpoint(path)
    state = {key.removeprefix("network."): tensor for key, tensor in tensors.items() if key.startswith("network.")}
    return Source(name, facts.model, facts.channels, facts.target, state, f"{name} {facts.identity}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
