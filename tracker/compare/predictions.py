"""The runs' predictions, read from MLflow once and kept as bits."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.compare.grading import RULES, Graded
from tracker.study.home import Home, replacing
from tracker.study.plain import parse_json
from tracker.tracking.files import read_files
from tracker.tracking.records import RunRecord

STORED = "predictions/predictions.npz"
MAX_IMAGES = 10_000_000
"""A larger test split is not what the program wrote: an archive may be anything, and is not unpacked blindly."""
LAYOUT = 1
"""Of the kept file; another one is not read, and written anew."""

log = logging.getLogger(__name__)


class PredictionStore:
    """Grades runs by their stored predictions; what was read once is kept in the home's cache, 4 kB a run.

    Args:
        uri: where MLflow keeps the runs.
        home: where the cache lies.
        experiment: names the cache's file.
    """

    def __init__(self, uri: str, home: Home, experiment: str) -> None:
        self._uri = uri
        digest = hashlib.sha256(experiment.encode()).hexdigest()[:16]  # run ids are unique, whatever the server
        self._path = home.cache / f"grades-{digest}.npz"

    def grades(self, runs: Sequence[RunRecord], metric: str) -> dict[str, Graded]:
        """Return which test images each run is right about, at the epoch of `metric`.

        Runs without predictions, or with damaged ones, are left out: a comparison then rests on the
        seeds alone, and says so.

        Raises:
            TrackingError: MLflow does not answer.

        Writes: the cache; where it cannot be written it is done without.
        """
        wanted = {run.run_id: f"{run.run_id}@{run.end_time}" for run in runs}
        kept = _load(self._path)
        missing = [(run.run_id, run.artifact_uri) for run in runs if wanted[run.run_id] not in kept]
        if missing:
            for run_id, content in read_files(self._uri, missing, STORED).items():
                if (grades := grade(content, run_id)) is not None:
                    kept[wanted[run_id]] = grades
            _save(self._path, {key: grades for key, grades in kept.items() if key.partition("@")[0] in wanted})
        rule = RULES[metric]
        return {run_id: kept[key][rule] for run_id, key in wanted.items() if key in kept and rule in kept[key]}


Grading = dict[str, Graded]
"""One run's, by rule."""


def grade(content: bytes, name: str) -> Grading | None:
    """Read a run's predictions archive.

    Args:
        content: as `save_predictions` of the sweep's workers wrote it.
        name: for the log.

    Returns:
        None where it is damaged or is something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > 4 * MAX_IMAGES * (2 + len(RULES)):
                raise ValueError("is larger than predictions can be")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            index, labels = arrays["index"], arrays["labels"]
            found = {rule: arrays[rule] for rule in RULES.values() if rule in arrays}
        if index.ndim != 1 or any(array.shape != index.shape for array in (labels, *found.values())):
            raise ValueError("holds arrays of different lengths")
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        log.warning("the predictions of run %s cannot be read and are left out: %s", name, error)
        return None
    return {rule: Graded(index.astype(np.int32), predicted == labels) for rule, predicted in found.items()}


def _save(path: Path, kept: Mapping[str, Grading]) -> None:
    """Write runs that were tested on the same images as one block of bits each.

    Writes: `path`.
    """
    groups: dict[tuple[bytes, tuple[str, ...]], list[str]] = {}
    for key, grades in kept.items():
        if grades:
            groups.setdefault((next(iter(grades.values())).index.tobytes(), tuple(grades)), []).append(key)
    arrays: dict[str, NDArray[np.generic]] = {}
    table = []
    for number, ((index, rules), keys) in enumerate(groups.items()):
        table.append({"runs": keys, "rules": rules})
        arrays[f"{number}/index"] = np.frombuffer(index, dtype=np.int32)
        for rule in rules:
            arrays[f"{number}/{rule}"] = np.packbits(np.stack([kept[key][rule].correct for key in keys]), axis=1)
    text = json.dumps({"layout": LAYOUT, "groups": table}).encode()
    arrays["table"] = np.frombuffer(text, dtype=np.uint8)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        log.debug("predictions are not kept: %s", error)


def _load(path: Path) -> dict[str, Grading]:
    """Return what is kept; nothing if the file is not there, is damaged, or is of another layout."""
    kept: dict[str, Grading] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            table = parse_json(arrays["table"].tobytes())
            if table["layout"] != LAYOUT:
                return {}
            for number, group in enumerate(table["groups"]):
                index = arrays[f"{number}/index"]
                bits = {rule: _unpacked(arrays[f"{number}/{rule}"], len(index)) for rule in group["rules"]}
                for place, key in enumerate(group["runs"]):
                    kept[key] = {rule: Graded(index, rows[place]) for rule, rows in bits.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.debug("what was kept of predictions is not usable: %s", error)
        return {}
    return kept


def _unpacked(bits: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=1, count=count).astype(np.bool_)
