"""Networks to predict with, whatever form they have: an export, a checkpoint, a registered or a served model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from tracker.deploy.describing import FILES, read_description
from tracker.deploy.pipeline import INPUT, ONNX_FILE, OUTPUT, TORCH_FILE, Pipeline, check_exporter
from tracker.deploy.serving import ServedNetwork
from tracker.study.errors import DataDamaged, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.printing import printable
from tracker.vision.checkpoint import CheckpointFacts, load_classifier

Run = Callable[[np.ndarray], np.ndarray]
"""uint8, (N, C, H, W), to probabilities, (N, K)."""


@dataclass(frozen=True)
class Opened:
    """A network ready to predict.

    Args:
        what: in words.
        classes: K names.
        channels: C of the images it takes.
        image_size: S, what it was trained on.
        batch: how many images to give it at once.
    """

    what: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    run: Run
    batch: int = 64


@contextmanager
def opened(where: str, home: Home) -> Iterator[Opened]:
    """Open a network.

    Args:
        where: a folder that `tracker export` wrote, a checkpoint (`.safetensors`), `models:/NAME@ALIAS`
            or `models:/NAME/VERSION`, or the address of a served model.

    Raises:
        UsageError: it is none of these.
        TrackerError: it is not there, is damaged, or does not answer.
    """
    if where.startswith(("http://", "https://")):
        served = ServedNetwork(where)
        facts = served.describe()
        # A request is a text with up to four letters a byte.
        batch = max(1, 1_000_000 // (served.channels * served.image_size**2))
        yield Opened(f"{where} ({_named(facts)})", tuple(facts["classes"]), served.channels, served.image_size,
                     served.run, min(batch, 64))  # fmt: skip
    elif where.startswith("models:"):
        from tracker.tracking.registry import fetch_registered
        from tracker.tracking.server.addresses import reading_uri

        with TemporaryDirectory(prefix="tracker-") as folder:
            what = fetch_registered(reading_uri(home), where, Path(folder))
            yield _open_folder(Path(folder), what)
    else:
        yield open_path(Path(where))


def open_path(path: Path) -> Opened:
    """Open an export's folder, or its file, or a checkpoint.

    Raises:
        UsageError: it is neither.
        DataMissing, DataDamaged: it is no export, or one that cannot be read.
    """
    if path.is_dir():
        return _open_folder(path, str(path))
    if not path.exists():
        raise UsageError(f"{path}: there is no such model", ACCEPTED)
    if path.suffix == ".safetensors":
        return _open_checkpoint(path)
    if path.name in (TORCH_FILE, ONNX_FILE):
        return _open_folder(path.parent, str(path))
    raise UsageError(f"{path}: is no model", ACCEPTED)


ACCEPTED = (
    "accepted: a folder written by `tracker export`, a checkpoint (.safetensors), models:/NAME@champion, "
    "http://HOST:PORT of a served model"
)


def _open_folder(folder: Path, what: str) -> Opened:
    description = read_description(folder)
    form = description["format"]
    run = (run_onnx if form == "onnx" else run_torch)(folder / FILES[form])
    _, channels, *_ = description["input"]["shape"]
    return Opened(f"{what} ({_named(description)})", tuple(description["classes"]), channels,
                  description["input"]["image_size"], run)  # fmt: skip


def _open_checkpoint(path: Path) -> Opened:
    classifier, facts = load_classifier(path)
    pipeline = Pipeline(classifier, facts.image_size).eval()
    what = f"{path} ({facts.model}, normalization {facts.normalization})"
    return Opened(what, facts.classes, image_channels(facts), facts.image_size, _through(pipeline))


def image_channels(facts: CheckpointFacts) -> int:
    """Return C of the images a checkpoint was trained on, as far as it tells.

    A network of three channels is given gray images by repeating them, and their statistics with them.
    """
    same = len(set(zip(facts.target.mean, facts.target.std, strict=True))) == 1
    return 1 if same else facts.channels


def run_torch(path: Path) -> Run:
    """Load a torch.export archive.

    Raises:
        DataDamaged: it cannot be read.
    """
    try:
        network = torch.export.load(path).module()
    except Exception as error:  # whatever a damaged archive leads to
        raise _damaged(path, error) from error
    return _through(network)


def _through(network: nn.Module) -> Run:
    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = network(torch.from_numpy(np.require(images, requirements=["C", "W"]))).numpy()
        return found

    return run


def run_onnx(path: Path) -> Run:
    """Load an ONNX file, for the CPU.

    Raises:
        TrackerError: onnxruntime is not installed.
        DataDamaged: the file cannot be read.
    """
    check_exporter("onnx")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds derive from Exception alone
        raise _damaged(path, error) from error

    def run(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})[0]
        return found

    return run


def _damaged(path: Path, error: Exception) -> TrackerError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataDamaged(f"{path}: cannot be read ({first})", "export it anew: tracker export --overwrite")


def _named(description: dict[str, Any]) -> str:
    return printable(str(description.get("cell", "?")))  # of a stranger's server it may be anything
