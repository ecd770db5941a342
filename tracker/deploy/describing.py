"""What an export says of itself: its `model.json`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tracker import __version__
from tracker.deploy.checkpoints import Kept
from tracker.deploy.choosing import Choice
from tracker.deploy.pipeline import INPUT, MODEL_JSON, ONNX_FILE, OUTPUT, TORCH_FILE
from tracker.study.errors import DataDamaged, DataMissing
from tracker.study.metrics import SELECTION
from tracker.study.plain import parse_json
from tracker.study.recipe import normalization_meaning

LAYOUT = "tracker export 1"
FILES = {"torch": TORCH_FILE, "onnx": ONNX_FILE, "mlflow": f"artifacts/{TORCH_FILE}"}
"""Where the network lies in the folder, by format."""
PACKAGES = {
    "torch": ("torch", "numpy"),
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "mlflow": ("torch", "numpy", "pandas", "mlflow"),
}
"""What a format was made with; what serves it is among them."""
RESIZE = "largest centred square, bilinear with antialiasing, as Pillow does it; inside the network"


def describe(study_name: str, choice: Choice, kept: Kept, channels: int, form: str) -> dict[str, Any]:
    """Return all that is to be said of an export before it is verified, as plain JSON values.

    Args:
        channels: C of the images it takes.
    """
    facts, recipe = kept.facts, choice.cell.recipe
    metric = choice.metric if kept.note is None else f"{kept.rule}_acc"
    numbers = {name: tensor.flatten().tolist() for name, tensor in kept.classifier.normalization.named_buffers()}
    return {
        "layout": LAYOUT,
        "format": form,
        "study": study_name,
        "cell": choice.cell.name,
        "cell_id": choice.cell.id,
        "run_id": choice.run.run_id,
        "chosen": list(choice.reasons),
        "classes": list(facts.classes),
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "shape": ["N", channels, "H", "W"],
            "channels": "gray" if channels == 1 else "red, green, blue",
            "resize": RESIZE,
            "image_size": facts.image_size,
            "shift": recipe.shift,
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["N", len(facts.classes)]},
        "network": {"model": facts.model, "channels": facts.channels},
        "normalization": {
            "name": facts.normalization,
            "meaning": normalization_meaning(facts.normalization),
            **numbers,
        },
        "accuracy": {
            "value": facts.test_acc,
            "metric": metric,
            "rule": SELECTION[metric],
            "epoch": facts.epoch,
            "test_images": choice.test_images,
            "dataset": facts.dataset,
            "fingerprint": facts.fingerprint,
        },
        "recipe": facts.recipe,
        "versions": {"tracker": __version__, "python": platform.python_version(), **_versions(form)},
    }


def _versions(form: str) -> dict[str, str]:
    found = {}
    for name in ("torchvision", *PACKAGES[form]):
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def requirements(form: str) -> list[str]:
    """Return what pip must install to use an export: the versions it was made with."""
    versions = _versions(form)
    return [f"{name}=={versions[name]}" for name in PACKAGES[form] if name in versions]


def read_description(folder: Path) -> dict[str, Any]:
    """Read an export's `model.json`.

    Raises:
        DataMissing: there is none, so the folder is no export.
        DataDamaged: it cannot be read, or says nothing that this version understands.
    """
    path = folder / MODEL_JSON
    if not path.is_file():
        raise DataMissing(f"{folder}: is no export, it has no {MODEL_JSON}", "tracker export --study NAME -o DIR")
    try:
        found: dict[str, Any] = parse_json(path.read_bytes())
        check_description(found)
        file = FILES[found["format"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataDamaged(f"{path}: cannot be read ({error})", "export it anew: tracker export --overwrite") from error
    if not (folder / file).is_file():
        raise DataDamaged(f"{folder}: has no {file}", "export it anew: tracker export --overwrite")
    return found


def check_description(found: Any) -> None:
    """See that a description has what predicting needs.

    Raises:
        ValueError, KeyError, TypeError: it has not.
    """
    if found["layout"] != LAYOUT:
        raise ValueError(f"layout {found['layout']!r}, this version reads {LAYOUT!r}")
    classes, (_, channels, *_), size = found["classes"], found["input"]["shape"], found["input"]["image_size"]
    if channels not in (1, 3) or not isinstance(size, int) or not 1 <= size <= 65_536:
        raise ValueError("an input that cannot be")
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("no names of classes")
