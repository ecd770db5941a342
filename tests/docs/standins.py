"""Small studies with the names of the real ones, and images, so that the docs' commands can run as they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = "digits-0-4: {dataset: digits-0-4, epochs: 1, batch_size: 32, limit_train: 40, limit_test: 20}"
DIGITS = """
  digits-0-4: {kind: digits, classes: [0, 1, 2, 3, 4], image_size: 16}
  digits-5-9: {kind: digits, classes: [5, 6, 7, 8, 9], image_size: 16}
  small: {kind: digits, classes: [6, 7, 8, 9], image_size: 16}"""
RECIPE = "model: resnet18, epochs: 1, batch_size: 20, limit_train: 40, limit_test: 40, flip: false, val_fraction: 0.2"
ALL = "[pretrain, finetune, instance, minmax]"
PHOTOS = "{kind: folder, path: ../photos, image_size: 16}"
STUDIES = {
    "quickstart": f"""
question: Which, of digits?
datasets: {DIGITS}
sources:
  {SOURCE}
recipe: {{{RECIPE}, dataset: digits-5-9, source: digits-0-4}}
axes: {{tune: [full, head], normalization: [pretrain, finetune, minmax], seed: [1, 2]}}
""",
    "norm-test": f"""
question: Which, of the grid?
datasets: {DIGITS}
sources:
  {SOURCE}
recipe: {{{RECIPE}, dataset: small, source: digits-0-4}}
axes: {{normalization: [pretrain, minmax], seed: [223]}}
""",
    "flowers": f"""
question: Which, of flowers?
datasets:
  flowers: {PHOTOS}
  trees: {{kind: folder, path: ../trees, image_size: 16}}
  digits-0-4: {{kind: digits, classes: [0, 1, 2, 3, 4], image_size: 16}}
sources:
  {SOURCE.replace("digits-0-4: {dataset: digits-0-4", "digits: {dataset: trees")}
recipe: {{model: resnet18, dataset: flowers, source: digits, batch_size: 8, epochs: 1, val_fraction: 0.2}}
axes: {{normalization: {ALL}, seed: [1, 2]}}
""",
    "cifar10-folder": f"""
question: Which, of photographs?
datasets: {{vehicles: {PHOTOS}, animals: {PHOTOS}}}
sources:
  vehicles: {{dataset: vehicles, epochs: 1, batch_size: 8}}
recipe: {{model: resnet18, dataset: animals, source: vehicles, batch_size: 8, epochs: 1, val_fraction: 0.2}}
axes: {{normalization: [pretrain, minmax], seed: [1]}}
""",
}
COUNT = 24
"""Photos of each class in each split."""


def make_place(folder: Path) -> None:
    """Fill a folder with what the commands of a page find where they run.

    Writes: experiments/, photos/ with links to it, trees/, photo.jpg, other/.
    """
    (folder / "experiments").mkdir(parents=True)
    for name, text in STUDIES.items():
        (folder / "experiments" / f"{name}.yaml").write_text(text)
    pixels = np.random.default_rng(11)
    for name, light in (("photos", 60), ("trees", 30)):
        for split in ("train", "test"):
            for number, label in enumerate(("cat", "dog", "frog")):
                place = folder / name / split / label
                place.mkdir(parents=True)
                for index in range(COUNT):
                    image = Image.fromarray((pixels.random((20, 20, 3)) * light * (1.5 + number)).astype(np.uint8))
                    image.save(place / f"{index}.jpg")
    Image.fromarray(pixels.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(folder / "photo.jpg")
    for alias in ("more-photos", "folder", "flowers"):
        (folder / alias).symlink_to("photos")
    (folder / "other").mkdir()
    (folder / "other" / "file.txt").write_text("of somebody else")
