"""From a study's cell to a folder that predicts by itself, verified before it is there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from tracker.deploy.checkpoints import Kept, load_kept
from tracker.deploy.choosing import Choice
from tracker.deploy.describing import FILES, PACKAGES, describe, read_description, requirements
from tracker.deploy.opening import image_channels, run_onnx, run_torch
from tracker.deploy.pipeline import MODEL_JSON, Pipeline, check_exporter, save_onnx, save_torch
from tracker.deploy.readme import readme
from tracker.deploy.verifying import Verification, probe, verify
from tracker.study.errors import DataMissing, TrackerError, UsageError
from tracker.study.home import Home
from tracker.tracking.reading import dataset_profile
from tracker.tracking.registry import save_served

Format = Literal["torch", "onnx", "mlflow"]
FORMATS: tuple[Format, ...] = ("torch", "onnx", "mlflow")


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        folder: where it lies.
        description: its `model.json`.
        content: 16 hex digits; equal for exports of equal networks with equal formats.
    """

    folder: Path
    description: dict[str, Any]
    verification: Verification
    content: str


def check_target(folder: Path, overwrite: bool) -> None:
    """See that an export can be written to `folder`.

    Raises:
        UsageError: it is there and not empty, and may not be replaced: without `overwrite`, or since it
            is no export itself.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UsageError(f"{folder}: is there already, and is no folder", "choose another with -o DIR")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{folder}: is there already, and not empty", "choose another with -o DIR, or --overwrite")
    try:
        read_description(folder)
    except DataMissing as error:
        raise UsageError(f"{folder}: holds something else than an export, which is not overwritten") from error
    except TrackerError:
        pass  # a damaged export is one


def export(
    choice: Choice,
    study_name: str,
    form: Format,
    folder: Path,
    home: Home,
    uri: str,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Export:
    """Export a cell: fetch its checkpoint, write it in `form`, load that back and hold it against the original.

    Args:
        home: where the dataset and scratch files lie.
        uri: where MLflow keeps the run.
        say: told what is done, a sentence each.

    Raises:
        UsageError: `folder` is taken.
        TrackerError: no checkpoint, it is damaged, the format cannot take the network, or what was
            written does not agree with the original. Nothing is left at `folder` then.

    Writes: `folder`, in one piece.
    """
    check_exporter(form)
    folder = folder.absolute()
    check_target(folder, overwrite)
    with home.scratch("export") as scratch:
        kept = load_kept(uri, choice, study_name, scratch)
        if kept.note is not None:
            say(kept.note)
        channels = _channels(uri, choice, kept)
        description = describe(study_name, choice, kept, channels, form)
        # Before it is written: what probing does to the disk should not meet a half-written folder.
        images = probe(choice, kept.facts, channels, kept.rule, home, uri)
        with _replacing_folder(folder, overwrite) as beside:
            say(f"exporting {choice.cell.name} to {form}")
            network = _write(kept, channels, description, form, beside, scratch)
            run = run_onnx(network) if form == "onnx" else run_torch(network)
            verification = verify(kept.classifier, run, images, kept.facts.image_size)
            description["verification"] = verification.document()
            _write_text(beside / MODEL_JSON, json.dumps(description, indent=2) + "\n")
            _write_text(beside / "README.md", readme(description))
    return Export(folder, description, verification, content_of(kept, description))


def _channels(uri: str, choice: Choice, kept: Kept) -> int:
    """Return C of the dataset's images: as the run says, else as far as the checkpoint tells."""
    told = dataset_profile(uri, choice.run.run_id).get("channels")
    return told if told in (1, kept.facts.channels) else image_channels(kept.facts)


def _write(kept: Kept, channels: int, description: dict[str, Any], form: Format, folder: Path, scratch: Path) -> Path:
    """Write the network; return its file."""
    pipeline = Pipeline(kept.classifier, kept.facts.image_size).eval()
    facts = json.dumps(description)
    if form == "onnx":
        save_onnx(pipeline, channels, facts, folder / FILES[form])
    elif form == "torch":
        save_torch(pipeline, channels, facts, folder / FILES[form])
    else:
        file = scratch / Path(FILES[form]).name
        save_torch(pipeline, channels, facts, file)
        folder.rmdir()  # MLflow makes it itself
        save_served(folder, file, channels, requirements(form))
        file.unlink()
    return folder / FILES[form]


def content_of(kept: Kept, description: dict[str, Any]) -> str:
    """Return what is equal for exports that answer alike: weights, input and classes, format and its packages."""
    digest = hashlib.sha256()
    for name, tensor in sorted(kept.classifier.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    said = {key: description[key] for key in ("layout", "format", "cell_id", "classes", "input", "output", "network")}
    versions = {name: description["versions"].get(name) for name in PACKAGES[description["format"]]}
    digest.update(json.dumps([said, versions], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextmanager
def _replacing_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a folder beside `folder`; on success flush its files and rename it into place, else remove it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.tmp"
        beside.mkdir()
    except OSError as error:
        raise TrackerError(f"{folder}: cannot be written: {error.strerror}", "choose another with -o DIR") from error
    old = beside.with_suffix(".old")
    try:
        yield beside
        for path in beside.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        check_target(folder, overwrite)  # it may have come to be meanwhile
        if folder.is_dir():
            folder.rename(old)
        beside.rename(folder)
    except OSError as error:
        raise TrackerError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if old.is_dir() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
