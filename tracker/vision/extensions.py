"""Entry points made into objects; whatever goes wrong in a package's code is an error that names the package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from tracker.study.errors import TrackerError
from tracker.study.extensions import Extension


def load_extension(extension: Extension) -> Any:
    """Import what an entry point names.

    Raises:
        TrackerError: it cannot be imported.
    """
    with blamed(extension, "cannot be imported"):
        return EntryPoint(extension.name, extension.target, extension.group).load()


@contextmanager
def blamed(extension: Extension, what: str, error: type[TrackerError] = TrackerError) -> Iterator[None]:
    """Turn an exception of a package's code into an error that names package, entry point, file and line.

    A TrackerError passes as it is: it is how a package tells what is wrong with its own words.

    Args:
        what: what failed, as `cannot be imported`.
        error: which error to raise.
    """
    try:
        yield
    except TrackerError:
        raise
    except (Exception, SystemExit) as problem:
        said = str(problem).strip().split("\n")[0]
        said = f"{type(problem).__name__}: {said}" if said else type(problem).__name__
        raise error(f"{extension}: {what}: {said}{_place(extension, problem)}", cure(extension)) from problem


def wrong(extension: Extension, what: str, error: type[TrackerError] = TrackerError) -> TrackerError:
    """Return the error for a part that runs but does not do what its group asks for."""
    return error(f"{extension}: {what}", cure(extension))


def cure(extension: Extension) -> str:
    """Return what to do about a part that does not work."""
    return (
        f"mend or update {extension.package} (docs/extending.md tells what is asked of it), or take something else"
        f" than {extension.name!r}"
    )


def _place(extension: Extension, problem: BaseException) -> str:
    """Return the deepest line of the package's own code in a traceback; nothing where it has none."""
    top = extension.target.partition(":")[0].partition(".")[0].strip()
    own = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if top in (Path(frame.filename).stem, *(folder.name for folder in Path(frame.filename).parents))
    ]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
