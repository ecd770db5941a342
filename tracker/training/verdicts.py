"""Which executions the self-check has agreed with on this machine, kept on disk, so that not every worker asks again.

Only agreement is kept: what failed or differed is looked at anew each time, since a driver may have been mended.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

import tracker.training
import tracker.vision
from tracker.study.extensions import installed
from tracker.study.home import replacing
from tracker.study.recipe import Recipe
from tracker.training.device import describe_device
from tracker.training.execution import PLAIN, Execution, attainable
from tracker.training.selfcheck import verified
from tracker.training.splits import DeviceSplit
from tracker.vision.kernels.library import KernelUnavailable, cache_folder
from tracker.vision.models import Classifier

FOLDER = "verdicts"
CODE = (tracker.training, tracker.vision)
"""What computes: another version of any of it is another question."""
DRIVER = Path("/proc/driver/nvidia/version")


def agreed_execution(
    recipe: Recipe,
    classifier: Classifier,
    split: DeviceSplit,
    device: torch.device,
    wanted: Execution,
    say: Callable[[str], None] = lambda _: None,
) -> Execution:
    """Return the wanted execution, as far as this device has it, if it does what the plain path does.

    What was found so when it was last looked at is believed.

    Args:
        classifier, split, say: as of `tracker.training.selfcheck.verified`.

    Writes: an agreement, into the user's cache folder.
    """
    wanted = attainable(wanted, device, say)
    if wanted == PLAIN:
        return PLAIN
    asked = question(recipe, classifier, split, wanted)
    if has_agreed(asked):
        return wanted
    found = verified(recipe, classifier, split, device, wanted, say)
    if found == wanted:
        keep_agreement(asked)
    return found


def question(recipe: Recipe, classifier: Classifier, split: DeviceSplit, execution: Execution) -> dict[str, str] | None:
    """Return all that an agreement depends on; None where it cannot be told, as for an installed package's network.

    Args:
        classifier, split: as of `tracker.training.selfcheck.verified`.
    """
    if recipe.model in installed("tracker.models"):
        return None
    device = split.images.device
    return {
        "model": recipe.model,
        "tune": recipe.tune,
        "optimizer": recipe.optimizer,
        "precision": recipe.precision,
        "images": "x".join(map(str, split.images.shape[1:])),
        "channels": str(classifier.channels),
        "execution": str(execution),
        "device": describe_device(device) if device.type == "cuda" else f"{platform.machine()} {_instructions()}",
        "libraries": gpu_libraries() if device.type == "cuda" else "",
        "code": code_digest(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
    }


def has_agreed(asked: dict[str, str] | None) -> bool:
    """Say whether an execution was once found to do what the plain path does, in this very situation."""
    if asked is None or (file := _file(asked)) is None:
        return False
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == asked)
    except (OSError, ValueError):  # not there, or damaged: asked again
        return False


def keep_agreement(asked: dict[str, str] | None) -> None:
    """Keep that an execution does what the plain path does; where nothing can be kept it is asked again.

    Writes: a small file in the user's cache folder.
    """
    if asked is None or (file := _file(asked)) is None:
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file) as target:
            target.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    except OSError:
        return


@cache
def code_digest() -> str:
    """Return a digest of the program that computes: this floor and the one below."""
    digest = hashlib.sha256()
    for package in CODE:
        root = Path(package.__path__[0])
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".c")):
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def gpu_libraries() -> str:
    """Return what computes on a GPU beside torch: driver, CUDA, cuDNN."""
    try:
        driver = DRIVER.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):  # another system's driver, or one that says nothing
        driver = "a driver that is not told"
    return f"{driver}; CUDA {torch.version.cuda}; cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]


def _instructions() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _file(asked: dict[str, str]) -> Path | None:
    try:
        folder = cache_folder() / FOLDER
    except KernelUnavailable:
        return None
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
    return folder / f"{name}.json"
