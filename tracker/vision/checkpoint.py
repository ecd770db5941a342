"""Checkpoints: one safetensors file that holds a classifier whole, its normalization inside.

A source is a checkpoint too: its network without the head, and the statistics it was trained with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tracker.study.errors import DataDamaged, SourceMissing
from tracker.study.home import replacing
from tracker.study.plain import parse_json
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network, keep_range_of_weights
from tracker.vision.normalizations import build_normalization

FORMAT = 1
MAX_SIZE = 65_536
"""Pixels of an image's side."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of itself.

    Args:
        model: torchvision's name of the network.
        channels, image_size: of the input.
        classes: K names, in the order of the logits.
        normalization: the name of the first layer.
        target: statistics of the dataset it was trained on.
        source: statistics of the source it started from; None for random weights.
        dataset, fingerprint: what it was trained on.
        epoch: how many epochs lie behind it, counted from 0.
        test_acc: a fraction, on the test split of `dataset`.
        recipe: every key.
        identity: the cell's id, or the source's.
    """

    model: str
    channels: int
    image_size: int
    classes: tuple[str, ...]
    normalization: str
    target: Statistics
    source: Statistics | None
    dataset: str
    fingerprint: str
    epoch: int
    test_acc: float
    recipe: dict[str, object]
    identity: str


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: CheckpointFacts) -> None:
    """Write a classifier's tensors and facts.

    Args:
        tensors: `Classifier.state_dict()`.

    Writes: `path`, atomically.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": f"tracker checkpoint {FORMAT}", "facts": json.dumps(asdict(facts))}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata=metadata)


def read_checkpoint(path: Path) -> tuple[CheckpointFacts, dict[str, Tensor]]:
    """Read what `save_checkpoint` wrote; nothing of the file is executed.

    Raises:
        SourceMissing: there is no such file.
        DataDamaged: it is truncated, altered, or not a checkpoint of this program.
    """
    if not path.is_file():
        raise SourceMissing(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataDamaged(f"{path}: is damaged or no safetensors file ({error})", "delete it and run again") from error
    if metadata.get("format") != f"tracker checkpoint {FORMAT}":
        found = metadata.get("format", "no format at all")
        raise DataDamaged(f"{path}: holds {found}, not a tracker checkpoint {FORMAT}")
    try:
        facts = _facts(parse_json(metadata["facts"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataDamaged(f"{path}: its description cannot be read ({error})", "delete it and run again") from error
    return facts, tensors


def load_classifier(path: Path) -> tuple[Classifier, CheckpointFacts]:
    """Rebuild a classifier on the CPU, in evaluation mode, ready for raw uint8 images.

    Raises:
        SourceMissing, DataDamaged: as `read_checkpoint`.
    """
    facts, tensors = read_checkpoint(path)
    network, head = build_network(facts.model, channels=facts.channels, classes=len(facts.classes), seed=0)
    if facts.recipe.get("source") == "torchvision":
        keep_range_of_weights(network)
    normalization = build_normalization(facts.normalization, target=facts.target, source=facts.source)
    classifier = Classifier(normalization, network, head, facts.channels)
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataDamaged(f"{path}: its tensors are not those of {facts.model}: {error}") from error
    return classifier.eval(), facts


def _facts(plain: dict[str, Any]) -> CheckpointFacts:
    """Check what a file says of itself; it may be a stranger's.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not what `save_checkpoint` writes.
    """

    def statistics(value: dict[str, list[float]]) -> Statistics:
        return Statistics(tuple(map(float, value["mean"])), tuple(map(float, value["std"])))

    source = plain["source"]
    values = {
        **plain,
        "classes": tuple(plain["classes"]),
        "target": statistics(plain["target"]),
        "source": None if source is None else statistics(source),
    }
    facts = CheckpointFacts(**values)
    texts = (facts.model, facts.normalization, facts.dataset, facts.fingerprint, facts.identity, *facts.classes)
    if not all(isinstance(text, str) for text in texts) or not isinstance(plain["classes"], list):
        raise ValueError("a name that is not text")
    if facts.channels not in (1, 3) or not (isinstance(facts.image_size, int) and 1 <= facts.image_size <= MAX_SIZE):
        raise ValueError("an input that cannot be")
    if not isinstance(facts.recipe, dict) or not isinstance(facts.epoch, int) or not facts.classes:
        raise ValueError("no recipe, epoch or classes")
    return facts
