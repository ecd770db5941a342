"""Every error a user can meet, each naming the thing and the cure.

TrackerError                 exit code 1
├── UsageError               exit code 2: the command line or a study file is wrong
│   ├── StudyError           a study file, with file, key, value and what would be accepted
│   └── RecipeChanged        a study's recipe is not the one its results were made with
├── DataError                an image set cannot be used
│   ├── DataMissing          it is not on this machine
│   └── DataDamaged          a file of it is truncated or altered
├── SourceError              starting weights cannot be used
│   └── SourceMissing        they are not on this machine
├── DeviceError              the device asked for is not there
├── PreflightError           a sweep cannot start; carries every obstacle found
├── TrainingError            a trial cannot go on
│   └── NotFinite            its training loss is not finite
├── DiskFull                 there is no room for what must be written
├── LedgerError              the trial database
│   └── LeaseLost            this worker no longer holds the cell it works on
└── TrackingError            the MLflow server or its store
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TrackerError(Exception):
    """An error with a cure.

    Args:
        message: what is wrong, naming the file, key, value or address.
        cure: what to do about it, a sentence or a command; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return self.message if self.cure is None else f"{self.message}\n  cure: {self.cure}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders; the default would pass only the message.
        return (type(self), (self.message, self.cure))


class UsageError(TrackerError):
    """The command line or a file written by the user is wrong; its cure says what is accepted."""

    exit_code = 2

    def __str__(self) -> str:
        return self.message if self.cure is None else f"{self.message}\n  {self.cure}"


class StudyError(UsageError):
    """A study file says something that cannot be meant."""

    def __init__(self, file: str, key: str, problem: str, accepted: str | None = None) -> None:
        where = f"{file}: {key}" if key else file
        super().__init__(f"{where}: {problem}", f"accepted: {accepted}" if accepted else None)
        self.file, self.key, self.problem, self.accepted = file, key, problem, accepted

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.file, self.key, self.problem, self.accepted))


class RecipeChanged(UsageError):
    """A study's recipe is not the one that its results were made with.

    Args:
        study: its name.
        changes: what differs, a line each: `recipe.epochs: 4 -> 8`.
    """

    def __init__(self, study: str, changes: Sequence[str]) -> None:
        self.study, self.changes = study, tuple(changes)
        super().__init__(
            "\n".join([f"study {study} has results of another recipe:", *(f"  {change}" for change in changes)]),
            "ways on: give the new one a name (--set name=NEW_NAME); "
            "or make what changed an axis (--axis KEY=OLD,NEW); "
            "or --replace: cells of the old recipe leave the study, their runs stay in MLflow",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.study, self.changes))


class DataError(TrackerError):
    """An image set cannot be used."""


class DataMissing(DataError):
    """An image set is not on this machine."""


class DataDamaged(DataError):
    """A file of an image set is truncated or altered."""


class SourceError(TrackerError):
    """Starting weights cannot be used."""


class SourceMissing(SourceError):
    """Starting weights are not on this machine."""


class DeviceError(TrackerError):
    """The device asked for is not there."""


class PreflightError(TrackerError):
    """A sweep cannot start.

    Args:
        obstacles: every reason found, each with its own cure, so that one look mends them all.
    """

    def __init__(self, obstacles: Sequence[TrackerError]) -> None:
        self.obstacles = tuple(obstacles)
        count = len(self.obstacles)
        super().__init__(f"the sweep cannot start: {count} obstacle{'s' * (count != 1)}")

    def __str__(self) -> str:
        return "\n".join([f"{self.message}:", *(f"- {obstacle}" for obstacle in self.obstacles)])

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.obstacles,))


class TrainingError(TrackerError):
    """A trial cannot go on."""


class NotFinite(TrainingError):
    """The training loss is not finite."""


class DiskFull(TrackerError):
    """There is no room for what must be written."""


class LedgerError(TrackerError):
    """The trial database cannot be used."""


class LeaseLost(LedgerError):
    """This worker no longer holds the cell it works on; its result must not be written."""


class TrackingError(TrackerError):
    """The MLflow server or its store cannot be used."""


class Stopped(Exception):
    """A trial was asked to stop (Ctrl-C, SIGTERM) and did, between two steps."""
