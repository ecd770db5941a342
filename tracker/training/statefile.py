"""A training state as one safetensors file, and back; nothing in it is executed when it is read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor
from torch.optim import Optimizer

from tracker.study.plain import parse_json
from tracker.training.changing import changing
from tracker.training.copies import Copier, nothing
from tracker.training.position import Position
from tracker.training.selection import Selection
from tracker.training.state import TrialState
from tracker.vision.models import Classifier

STATE_FORMAT = "tracker training state 1"
BEST_FORMAT = "tracker best weights 1"
CHUNK = 1 << 20
HEADER_BYTES = 1 << 20
"""More than the names of tensors and a history of 2,000 epochs take."""


class Unusable(Exception):
    """A file that this trial cannot go on from; the message says why, after the file's name."""


@dataclass(frozen=True)
class Content:
    """What a file will hold: tensors on the CPU that nobody changes any more, and texts.

    Args:
        wait: as of `Copies`.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    wait: Callable[[], None] = nothing

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        self.wait()
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        try:
            save_file(tensors, path, metadata=self.metadata)
        except SafetensorError as error:  # it wraps the system's error in words
            number = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
            raise OSError(number, os.strerror(number), str(path)) from error

    def read_back(self, path: Path) -> str | None:
        """Return the SHA-256 of a file that holds exactly this, None where it does not.

        Through one small buffer: to map the file, or to load it, would touch as much new memory.
        """
        digest = hashlib.sha256()
        buffer = np.empty(CHUNK, dtype=np.uint8)
        with path.open("rb", buffering=0) as file:
            start = file.read(8)
            header = file.read(int.from_bytes(start, "little"))  # safetensors: its length, the header, the tensors
            digest.update(start + header)
            try:
                entries = parse_json(header)
            except ValueError:
                return None
            if entries.pop("__metadata__", None) != self.metadata or set(entries) != set(self.tensors):
                return None
            for name in sorted(entries, key=lambda name: int(entries[name]["data_offsets"][0])):
                wanted = self.tensors[name].reshape(-1).view(torch.uint8).numpy()
                for first in range(0, len(wanted), CHUNK):
                    part = wanted[first : first + CHUNK]
                    found = buffer[: len(part)]
                    if file.readinto(found.data) != len(part) or not np.array_equal(found, part):
                        return None
                    digest.update(found.data)
            return digest.hexdigest() if not file.read(1) else None


@dataclass(frozen=True)
class Captured:
    """A copy of a state at one moment, to be written.

    Args:
        place: epochs done, and steps of the next one.
        state: without the name of the best weights' file.
        best: the best epoch and its weights.
    """

    place: tuple[int, int]
    state: Content
    best: tuple[int, Content] | None

    @property
    def nbytes(self) -> int:
        """What writing it takes at most, in bytes."""
        contents = [self.state, *([self.best[1]] if self.best else [])]
        return sum(tensor.nbytes for content in contents for tensor in content.tensors.values()) + HEADER_BYTES


@dataclass(frozen=True)
class Decoded:
    """What a state's file holds.

    Args:
        state: without the best weights, which are in a file of their own.
        best_name: that file's name; None before the first epoch is done.
        weights: of the classifier, those that change.
        optimizer: what its state_dict calls `state`.
        kind: the optimizer's class.
    """

    state: TrialState
    best_name: str | None
    weights: dict[str, Tensor]
    optimizer: dict[int, dict[str, Any]]
    kind: str


def encode_state(
    state: TrialState,
    classifier: Classifier,
    optimizer: Optimizer,
    identity: Mapping[str, str],
    copier: Copier,
) -> Content:
    """Copy a state from where it changes to what its file will hold, but for the best weights.

    Args:
        copier: the same one each time; what it copied last is overwritten.
    """
    position = state.position
    tensors = {f"weights/{name}": tensor for name, tensor in changing(classifier).items()}
    tensors |= {f"random/{kind}": tensor for kind, tensor in position.random.items()}
    tensors |= {f"predictions/{rule}": predicted for rule, predicted in state.predictions.items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        others = plain[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                others[name] = value
    facts = {
        "identity": dict(identity),
        "position": {name: getattr(position, name) for name in ("epoch", "step", "loss_sum", "correct", "seconds")},
        "selection": asdict(position.selection),
        "history": state.history,
        "seconds": state.seconds,
        "best": None,
        "optimizer": {"kind": type(optimizer).__name__, "plain": plain},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    copies = copier.copy(tensors)
    return Content(copies.tensors, {"format": STATE_FORMAT, "facts": json.dumps(facts)}, copies.wait)


def naming_best(content: Content, name: str) -> Content:
    """Return what a state's file will hold with the name of its best weights' file put in."""
    facts = {**parse_json(content.metadata["facts"]), "best": name}
    return replace(content, metadata={**content.metadata, "facts": json.dumps(facts)})


def decode_state(data: bytes, identity: Mapping[str, str]) -> Decoded:
    """Read what `encode_state` made.

    Raises:
        Unusable: it is another trial's, or not such a file.
    """
    metadata, tensors = _decode(data)
    if metadata.get("format") != STATE_FORMAT:
        raise Unusable(f"holds {metadata.get('format', 'no format at all')!r}, not {STATE_FORMAT!r}")
    try:
        facts = parse_json(metadata["facts"])
        _compare_identity(facts["identity"], identity)
        position = Position(
            **facts["position"], random=_under("random", tensors), selection=Selection(**facts["selection"])
        )
        if not isinstance(facts["best"], str | None):
            raise TypeError("a name that is not text")
        optimizer = {int(index): dict(values) for index, values in facts["optimizer"]["plain"].items()}
        for name, tensor in _under("optimizer", tensors).items():
            index, _, entry = name.partition("/")
            optimizer[int(index)][entry] = tensor
        state = TrialState(
            position=position,
            history=[(moment, metrics) for moment, metrics in facts["history"]],
            predictions=_under("predictions", tensors),
            seconds=facts["seconds"],
        )
        return Decoded(state, facts["best"], _under("weights", tensors), optimizer, facts["optimizer"]["kind"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable(f"has a description that cannot be read ({error!r})") from error


def encode_best(
    best: Mapping[str, Tensor], identity: Mapping[str, str], epoch: int, wait: Callable[[], None] = nothing
) -> Content:
    """Return what the file of the best epoch's weights will hold.

    Args:
        wait: as of `Copies`.
    """
    facts = json.dumps({"identity": dict(identity), "epoch": epoch})
    return Content(dict(best), {"format": BEST_FORMAT, "facts": facts}, wait)


def decode_best(data: bytes) -> dict[str, Tensor]:
    """Read what `encode_best` made.

    Raises:
        Unusable: it is not such a file.
    """
    metadata, tensors = _decode(data)
    if metadata.get("format") != BEST_FORMAT:
        raise Unusable(f"holds {metadata.get('format', 'no format at all')!r}, not {BEST_FORMAT!r}")
    return tensors


def _decode(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file."""
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")  # safetensors: the header's length, the header, the tensors
        return parse_json(data[8 : 8 + length]).get("__metadata__", {}), tensors
    except (SafetensorError, ValueError) as error:
        raise Unusable(f"is no safetensors file ({error})") from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _compare_identity(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for key in sorted(set(found) | set(wanted)):
        if found.get(key) != wanted.get(key):
            raise Unusable(f"is another trial's: its {key} is {found.get(key)}, not {wanted.get(key)}")
