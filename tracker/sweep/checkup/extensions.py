"""What installed packages add to the program, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator

from tracker.study.errors import TrackerError
from tracker.study.extensions import GROUPS, Extension, claims, find_extension
from tracker.study.recipe import DATASET_KINDS, NORMALIZATIONS
from tracker.study.study import Study
from tracker.sweep.checkup.finding import Finding, Level
from tracker.vision.extensions import load_extension
from tracker.vision.models import model_names
from tracker.vision.readers import reader_of


def check_extensions(study: Study | None) -> Iterator[Finding]:
    """Import every part that an installed package adds; nothing is said where none does.

    What does not work is a problem where the study needs it, else a warning: it harms nothing that does
    not use it.
    """
    used = _used(study)
    for one in (one for group in GROUPS for one in claims(group)):
        try:
            _look_at(one)
        except TrackerError as error:
            level: Level = "problem" if (one.group, one.name) in used else "warning"
            yield Finding("extensions", level, error.message, error.cure)
        else:
            yield Finding("extensions", "ok", str(one))


def _look_at(one: Extension) -> None:
    built_in = {"tracker.normalizations": NORMALIZATIONS, "tracker.datasets": DATASET_KINDS}.get(one.group)
    find_extension(one.group, one.name, built_in=one.name in (model_names() if built_in is None else built_in))
    if one.group == "tracker.datasets":
        reader_of(one.name)
    else:
        load_extension(one)


def _used(study: Study | None) -> set[tuple[str, str]]:
    """Return the names of a study's parts, with their groups."""
    cells = () if study is None else study.cells
    used = set()
    for cell in cells:
        specs = [spec for spec in (cell.dataset, cell.source_dataset) if spec is not None]
        used |= {("tracker.models", cell.recipe.model), ("tracker.normalizations", cell.recipe.normalization)}
        used |= {("tracker.datasets", spec.kind) for spec in specs}
    return used
