"""A folder in which a trial's state outlives its process.

A state is one file, `state-<epochs done>-<step>-<hash>.safetensors`, and the weights of its best
epoch another, `best-<epoch>-<hash>.safetensors`, which it names. The hash is of the file's own
bytes, so a file says by itself whether it is whole, wherever it was copied.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from torch.optim import Optimizer

from tracker.study.errors import DiskFull
from tracker.study.faults import reach
from tracker.study.plain import parse_json
from tracker.training.copies import Copier
from tracker.training.restoring import check_optimizer, check_weights, restore
from tracker.training.state import TrialState
from tracker.training.statefile import (
    Captured,
    Content,
    Decoded,
    Unusable,
    decode_best,
    decode_state,
    encode_best,
    encode_state,
    naming_best,
)
from tracker.vision.models import Classifier

STATE_NAME = re.compile(r"state-(\d{6,})-(\d{6,})-[0-9a-f]{16}\.safetensors")
BEST_NAME = re.compile(r"best-\d{6,}-[0-9a-f]{16}\.safetensors")
HASH_DIGITS = 16
KEPT_STATES = 2


@dataclass(frozen=True)
class Loaded:
    """What was found in a store.

    Args:
        state: None where there is none to go on from; classifier and optimizer are then untouched.
        file: where it was.
        problems: a sentence for each file passed over: which, and why.
    """

    state: TrialState | None
    file: Path | None
    problems: tuple[str, ...]


class StateStore:
    """Keeps the two newest states of one trial; no kill and no full disk leaves it without one it had.

    Args:
        folder: the trial's own; need not exist.
        identity: what decides the trial's result, in short texts; a state with another is not used.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self._folder = folder
        self._identity = dict(identity)
        self._current: Path | None = None
        self._best: tuple[int, Path] | None = None  # the best epoch as last written or loaded, and its file
        self._passed_over: set[Path] = set()
        self._copier = Copier()

    def save(self, state: TrialState, classifier: Classifier, optimizer: Optimizer) -> Path:
        """Make a state durable; `write(capture(...))`."""
        return self.write(self.capture(state, classifier, optimizer))

    def capture(self, state: TrialState, classifier: Classifier, optimizer: Optimizer) -> Captured:
        """Copy a state, so that training can go on while the copy is written; it holds until the next call.

        Raises:
            ValueError: an epoch was trained that `state.add` was not given.
        """
        position = state.position
        if len(state.history) != position.epoch:
            raise ValueError(f"the history has {len(state.history)} epochs, the position {position.epoch}")
        epoch = position.selection.best_epoch
        best = encode_best(state.best, self._identity, epoch, state.wait) if state.best else None
        state.copier.hold()  # epochs may be better than this one while it is written
        return Captured(
            (position.epoch, position.step),
            encode_state(state, classifier, optimizer, self._identity, self._copier),
            None if best is None else (epoch, best),
        )

    def write(self, captured: Captured) -> Path:
        """Make a captured state durable; older ones go only after it was read back.

        Raises:
            DiskFull: there is no room; the states before are still there.

        Writes: the state's file, and that of its best weights if the best epoch is another.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_temporary()
            best = self._write_best(captured)
            epoch, step = captured.place
            state = captured.state if best is None else naming_best(captured.state, best.name)
            path = self._write(f"state-{epoch:06}-{step:06}", state)
            reach("state-written")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            there = next(place for place in (self._folder, *self._folder.parents) if place.exists())
            free = shutil.disk_usage(there).free
            raise DiskFull(
                f"{self._folder}: no room for the training state: {free:,} bytes free, {captured.nbytes:,} needed",
                "free some space; the epochs before are kept",
            ) from error
        self._current = path
        self._remove_older(path)
        return path

    def load(self, classifier: Classifier, optimizer: Optimizer) -> Loaded:
        """Restore the newest state that is whole and this trial's, in place, on the device where both are."""
        self._current, self._best, self._passed_over = None, None, set()
        problems = []
        for path in self._states():
            try:
                decoded = self._read(path)
                check_weights(decoded.weights, classifier)
                check_optimizer(decoded, optimizer)
                if decoded.best_name is not None:
                    check_weights(decoded.state.best, classifier)
            except Unusable as reason:
                self._passed_over.add(path)
                problems.append(f"{path} is passed over: it {reason}")
                continue
            restore(decoded, classifier, optimizer)
            self._current = path
            if decoded.best_name is not None:
                self._best = (decoded.state.position.selection.best_epoch, path.with_name(decoded.best_name))
            return Loaded(decoded.state, path, tuple(problems))
        return Loaded(None, None, tuple(problems))

    def newest(self) -> Path | None:
        """Return the file of the state last saved or loaded; before that, the newest whole one of this trial."""
        if self._current is not None and self._current.exists():
            return self._current
        for path in self._states():
            try:
                self._read(path)
            except Unusable:
                continue
            return path
        return None

    def files_of(self, path: Path) -> tuple[Path, ...]:
        """Return a state's file and that of its best weights.

        Copied into another trial folder under their names, they are found there by `load`.
        """
        best = _best_named(path)
        return (path,) if best is None else (path, path.with_name(best))

    def clear(self) -> None:
        """Remove the folder and everything in it."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._current, self._best, self._passed_over = None, None, set()

    def _states(self) -> list[Path]:
        """Return the states' files, the newest first."""
        places = {path: place for path in self._folder.glob("state-*") if (place := _place(path)) is not None}
        return sorted(places, key=places.__getitem__, reverse=True)

    def _read(self, path: Path) -> Decoded:
        """Read a state's file, and its best weights into the state.

        Raises:
            Unusable: one of the two is damaged, or the state is another trial's.
        """
        decoded = decode_state(_read_whole(path), self._identity)
        if decoded.best_name is not None:
            if BEST_NAME.fullmatch(decoded.best_name) is None:
                raise Unusable(f"names {decoded.best_name!r} as its best weights")
            try:
                decoded.state.best = decode_best(_read_whole(path.with_name(decoded.best_name)))
            except Unusable as reason:
                raise Unusable(f"names {decoded.best_name}, which {reason}") from reason
        return decoded

    def _write_best(self, captured: Captured) -> Path | None:
        """Write the best weights where they are not on disk yet."""
        if captured.best is None:
            return None
        epoch, content = captured.best
        if self._best is None or self._best[0] != epoch or not self._best[1].exists():
            self._best = (epoch, self._write(f"best-{epoch:06}", content))
            reach("best-written")
        return self._best[1]

    def _write(self, stem: str, content: Content) -> Path:
        """Write a file, see that it is durable and reads back, and give it a name with its hash."""
        temporary = self._folder / f".{stem}.{uuid4().hex[:8]}.tmp"
        try:
            content.write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            digest = content.read_back(temporary)
            if digest is None:
                raise OSError(errno.EIO, "what was written does not read back", str(temporary))
            path = self._folder / f"{stem}-{digest[:HASH_DIGITS]}.safetensors"
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _make_rename_durable(self._folder)
        return path

    def _remove_older(self, saved: Path) -> None:
        """Keep what was just saved and the one before; remove the others, then best weights that none of them names.

        States that are further than `saved` stay unless `load` passed them over: they can only be
        another process's.
        """
        states = [path for path in self._states() if path not in self._passed_over]
        end = states.index(saved) + KEPT_STATES
        for path in {*states[end:], *self._passed_over}:
            path.unlink(missing_ok=True)
        named = {_best_named(path) for path in states[:end]}
        for path in self._folder.glob("best-*.safetensors"):
            if path.name not in named:
                path.unlink(missing_ok=True)
        self._passed_over = set()

    def _remove_temporary(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self._folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def _place(path: Path) -> tuple[int, int, int] | None:
    """Return epochs and steps done, which a state's name says, and when it was written; None for other files."""
    match = STATE_NAME.fullmatch(path.name)
    return None if match is None else (int(match[1]), int(match[2]), path.stat().st_mtime_ns)


def _read_whole(path: Path) -> bytes:
    """Read a file that has its hash in its name.

    Raises:
        Unusable: it is not there, cannot be read, or is not what was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror})") from error
    if _hash(data) != path.stem.rpartition("-")[2]:
        raise Unusable("is truncated or altered" if data else "is empty")
    return data


def _best_named(path: Path) -> str | None:
    """Return the name of a state's best weights, read from its header alone; None where it has none or is damaged."""
    try:
        with path.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
        best = parse_json(parse_json(header)["__metadata__"]["facts"])["best"]
    except (OSError, KeyError, TypeError, ValueError, OverflowError, MemoryError):
        return None
    return best if isinstance(best, str) and BEST_NAME.fullmatch(best) else None


def _make_rename_durable(folder: Path) -> None:
    """Flush a folder's entries, so that a power cut cannot undo a rename after older files are gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
