"""Draw a small dataset to try the parts with: `python -m own_parts.draw shapes.npz`.

Discs, squares and crosses in gray, 16 x 16 pixels, each with its own brightness and with a few lamps: pixels that
are white whatever is drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

CLASSES = ("disc", "square", "cross")
SIZE = 16
SEED = 20_26


def shapes(count: int) -> dict[str, np.ndarray]:
    """Return `count` images of each class, with labels and class names."""
    random = np.random.default_rng(SEED)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, labels = [], []
    for label, _ in enumerate(CLASSES):
        for _ in range(count):
            row, column = random.integers(5, SIZE - 5, size=2)
            radius = random.integers(3, 5)
            down, across = np.abs(rows - row), np.abs(columns - column)
            near = np.maximum(down, across) <= radius
            drawn = (down**2 + across**2 <= radius**2, near, near & (np.minimum(down, across) == 0))[label]
            image = random.normal(random.uniform(20, 80), 8, (SIZE, SIZE)) + drawn * random.uniform(40, 90)
            image[random.random((SIZE, SIZE)) < 0.02] = 255
            images.append(image.clip(0, 255).astype(np.uint8))
            labels.append(label)
    return {"images": np.stack(images), "labels": np.array(labels), "classes": np.array(CLASSES)}


def main(arguments: list[str]) -> int:
    """Write the file that is named. Writes: it."""
    if len(arguments) not in (1, 2):
        print("usage: python -m own_parts.draw FILE.npz [IMAGES_A_CLASS]", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    drawn = shapes(int(arguments[1]) if len(arguments) == 2 else 200)
    with path.open("wb") as file:  # savez would add .npz to another name
        np.savez(file, **drawn)
    print(f"{path}: {len(drawn['labels'])} images")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
