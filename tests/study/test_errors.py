"""Rules of the errors: one tree, messages that name the cure, and safe passage between processes."""

from __future__ import annotations

import pickle
import re

import pytest

from tracker.study import errors
from tracker.study.errors import (
    DataMissing,
    DeviceError,
    PreflightError,
    RecipeChanged,
    Stopped,
    StudyError,
    TrackerError,
    UsageError,
)


def family(parent: type[TrackerError]) -> dict[str, str]:
    """Return every class below `parent` with the name of its parent."""
    found: dict[str, str] = {}
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= {child.__name__: parent.__name__, **family(child)}
    return found


def make(name: str) -> TrackerError:
    """Make an instance of each class as the program would."""
    kind = getattr(errors, name)
    if kind is StudyError:
        return StudyError("study.yaml", "recipe.lr", "is text", "0.001")
    if kind is RecipeChanged:
        return RecipeChanged("quickstart", ["recipe.epochs: 4 -> 8", "recipe.lr: 0.001 (default) -> 0.01"])
    if kind is PreflightError:
        return PreflightError([DataMissing("no images", "tracker data fetch"), DeviceError("no CUDA")])
    error = kind("what is wrong", "what to do")
    assert isinstance(error, TrackerError)
    return error


NAMES = ["TrackerError", *family(TrackerError)]


def test_the_tree_drawn_is_the_tree_there_is() -> None:
    """The docstring's drawing has every class, under its parent."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"((?:[│ ]   )*[├└]── |)([A-Z]\w+)\s{2,}\S", line):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            if depth:
                drawn[match[2]] = above[depth - 1]
    assert len(drawn) == 16
    assert drawn == family(TrackerError)


@pytest.mark.parametrize("name", NAMES)
def test_errors_cross_process_borders_whole(name: str) -> None:
    """A worker's error arrives with its type, message, cure and own fields."""
    error = make(name)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert repr(vars(again)) == repr(vars(error))
    assert (again.message, again.cure, again.exit_code) == (error.message, error.cure, error.exit_code)


@pytest.mark.parametrize("name", NAMES)
def test_exit_codes(name: str) -> None:
    """2 says that the command line or a file written by the user is wrong, 1 anything else."""
    error = make(name)
    assert error.exit_code == (2 if isinstance(error, UsageError) else 1)


def test_a_cure_has_a_line_of_its_own() -> None:
    """Message first, then the cure; without one, the message alone."""
    assert str(TrackerError("it is gone", "fetch it")) == "it is gone\n  cure: fetch it"
    assert str(TrackerError("it is gone")) == "it is gone"


def test_a_study_error_names_file_key_and_what_is_accepted() -> None:
    """What is accepted is the cure; a file without a key is an error of the whole file."""
    error = StudyError("study.yaml", "recipe.lr", "'1e-3' is text", "0.001")
    assert str(error) == "study.yaml: recipe.lr: '1e-3' is text\n  accepted: 0.001"
    assert str(StudyError("study.yaml", "", "is not UTF-8 text")) == "study.yaml: is not UTF-8 text"


def test_a_preflight_error_shows_every_obstacle() -> None:
    """One look mends them all: each obstacle with its own cure, and their number."""
    error = PreflightError([DataMissing("no images", "tracker data fetch"), DeviceError("no CUDA")])
    assert str(error).splitlines() == [
        "the sweep cannot start: 2 obstacles:",
        "- no images",
        "  cure: tracker data fetch",
        "- no CUDA",
    ]
    assert PreflightError([DeviceError("no CUDA")]).message == "the sweep cannot start: 1 obstacle"


def test_a_changed_recipe_shows_what_changed_and_the_ways_on() -> None:
    """The study, each difference on a line of its own, then a new name, an axis, or leaving the old cells."""
    error = RecipeChanged("quickstart", ["recipe.epochs: 4 -> 8", "recipe.flip: true (default) -> false"])
    first, *changes, ways = str(error).splitlines()
    assert first == "study quickstart has results of another recipe:"
    assert changes == ["  recipe.epochs: 4 -> 8", "  recipe.flip: true (default) -> false"]
    assert all(way in ways for way in ("--set name=", "--axis KEY=OLD,NEW", "--replace"))
    assert error.changes == ("recipe.epochs: 4 -> 8", "recipe.flip: true (default) -> false")
    assert (error.study, error.exit_code) == ("quickstart", 2)


def test_being_stopped_is_no_error() -> None:
    """Who catches errors of the program does not take Ctrl-C for one."""
    assert not issubclass(Stopped, TrackerError)
