"""What is carried of an experiment, as plain checked values; what a bundle's lines hold.

A bundle comes from elsewhere, so everything is checked here before it is used: an id that would
name a folder, a path that would lead out of one, a kind that does not exist.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_PATH = 1_000
PART = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
ModelId = Annotated[str, Field(pattern=r"^m-[0-9a-f]{32}$")]
ExperimentId = Annotated[str, Field(pattern=r"^[0-9]{1,32}$")]


def _inside(path: str) -> str:
    """Refuse a path that is not plainly one below the folder it is joined to."""
    parts = path.split("/")
    if len(path) > MAX_PATH or any(part in (".", "..") or not PART.fullmatch(part) for part in parts):
        raise ValueError(f"{path[:100]!r} is no path of a file below a folder")
    return str(PurePosixPath(path))


ArtifactPath = Annotated[str, AfterValidator(_inside)]


class Moved(BaseModel):
    """Base of all records: frozen, no key unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, protected_namespaces=(), ser_json_inf_nan="constants"
    )


class MovedFile(Moved):
    """A file; its content lies in the bundle under its hash.

    Args:
        path: among the artifacts of its run or model.
    """

    path: ArtifactPath
    sha256: Sha256
    size: int = Field(ge=0)


class MovedDataset(Moved):
    """A dataset input of a run."""

    name: str
    digest: str
    source_type: str
    source: str
    columns: str | None
    profile: str | None
    tags: dict[str, str]


class MovedRun(Moved):
    """A run with everything it has.

    Args:
        start_time, end_time: milliseconds since 1970.
        deleted: it lies in MLflow's trash.
        metrics: every point of each: step, timestamp, value.
        model_inputs, model_outputs: logged models it used, and made at which step.
    """

    run_id: RunId
    name: str
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    start_time: int
    end_time: int | None
    deleted: bool
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, int, float]]]
    datasets: list[MovedDataset]
    model_inputs: list[ModelId]
    model_outputs: list[tuple[ModelId, int]]
    files: list[MovedFile]


class MovedModel(Moved):
    """A logged model: what a registered version points at."""

    model_id: ModelId
    name: str
    model_type: str | None
    source_run_id: RunId | None
    status: str = Field(pattern=r"^(READY|FAILED|PENDING)$")
    tags: dict[str, str]
    params: dict[str, str]
    files: list[MovedFile]


class MovedVersion(Moved):
    """A version of a registered model.

    Args:
        source: where its files are: `models:/MODEL_ID`, or `runs:/RUN_ID/PATH`.
    """

    version: int = Field(ge=1, le=10_000)
    source: str = Field(pattern=r"^(models:/m-[0-9a-f]{32}|runs:/[0-9a-f]{32}/.+)$")
    run_id: RunId
    model_id: ModelId | None
    description: str | None
    tags: dict[str, str]


class MovedRegistered(Moved):
    """A registered model."""

    name: str = Field(min_length=1)
    description: str | None
    tags: dict[str, str]
    aliases: dict[str, int]
    versions: list[MovedVersion]


class MovedExperiment(Moved):
    """An experiment; its runs are carried one by one."""

    name: str = Field(min_length=1)
    experiment_id: ExperimentId
    deleted: bool
    tags: dict[str, str]
    models: list[MovedModel]
    registered: list[MovedRegistered]


class Ids:
    """Which id at the new place stands for which at the old one.

    Args:
        experiments, runs, models: old id to new.
    """

    _WORD = re.compile(r"(?<![0-9a-f])(?:m-)?[0-9a-f]{32}(?![0-9a-f])")
    _LINK = re.compile(r"(?<=#/experiments/)[0-9]+(?![0-9])")

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.models: dict[str, str] = {}

    def rewrite(self, text: str) -> str:
        """Put new ids in place of the old ones, wherever in a text they stand, addresses of experiments included."""
        of_run_or_model = {**self.runs, **self.models}
        text = self._WORD.sub(lambda match: of_run_or_model.get(match[0], match[0]), text)
        return self._LINK.sub(lambda match: self.experiments.get(match[0], match[0]), text)

    def rewritten(self, texts: dict[str, str]) -> dict[str, str]:
        """Return the same for each value."""
        return {key: self.rewrite(text) for key, text in texts.items()}
