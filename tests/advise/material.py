"""A source and folders of images that take no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tracker.study.home import Home
from tracker.vision.checkpoint import CheckpointFacts, save_checkpoint
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import MinMax
from tracker.vision.sources import source_path

MODEL = "mobilenet_v3_small"


def make_source(
    home: Home, name: str, *, channels: int = 3, model: str = MODEL, identity: str = "0" * 12
) -> Statistics:
    """Make a source in a home, as `tracker pretrain` leaves it, of random weights; return its statistics."""
    network, head = build_network(model, channels=channels, classes=2, seed=0)
    statistics = Statistics((0.4,) * channels, (0.2,) * channels)
    facts = CheckpointFacts(
        model=model,
        channels=channels,
        image_size=16,
        classes=("a", "b"),
        normalization="finetune",
        target=statistics,
        source=None,
        dataset="made",
        fingerprint="0" * 16,
        epoch=0,
        test_acc=0.5,
        recipe={},
        identity=identity,
    )
    path = source_path(home, name, model, identity)
    home.make(path.parent)
    save_checkpoint(path, Classifier(MinMax(), network, head, channels).state_dict(), facts)
    return statistics


def make_folder(root: Path, *, classes: tuple[str, ...] = ("a", "b", "c"), count: int = 20, gray: bool = False) -> Path:
    """Make a folder of PNG files, CLASS/*: each class has a brightness of its own, and noise on it."""
    draw = np.random.default_rng(7)
    for number, label in enumerate(classes):
        folder = root / label
        folder.mkdir(parents=True)
        for index in range(count):
            noise = draw.normal(60 + 50 * number, 20, (16, 16) if gray else (16, 16, 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root
