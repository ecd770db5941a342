"""What installed packages add by Python entry points: models, normalizations and kinds of dataset, by name.

Only names are read here, from the packages' metadata; `tracker.vision.extensions` imports what they point to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from tracker.study.errors import TrackerError

if TYPE_CHECKING:
    from tracker.study.recipe import DatasetSpec, Recipe

Group = Literal["tracker.models", "tracker.normalizations", "tracker.datasets"]

GROUPS: dict[Group, str] = {
    "tracker.models": "model",
    "tracker.normalizations": "normalization",
    "tracker.datasets": "dataset kind",
}
"""The groups of entry points that are looked at, and what one of each is called."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
"""Letters, digits, dot, dash, underscore: safe as a file name, a URL part and a column."""


@dataclass(frozen=True, order=True)
class Extension:
    """One entry point of an installed package.

    Args:
        group: which of `GROUPS`.
        name: what a study calls it.
        target: what it points to, as `own_parts.model:SmallNet`.
        package, version: of the package that has it.
    """

    group: Group
    name: str
    target: str
    package: str
    version: str

    @property
    def origin(self) -> str:
        """The package with its version, as `own-parts 1.0`."""
        return f"{self.package} {self.version}"

    def __str__(self) -> str:
        return f"{GROUPS[self.group]} {self.name!r} of package {self.origin} ({self.target})"


def installed(group: Group) -> tuple[str, ...]:
    """Return the names that installed packages add to a group, sorted."""
    return tuple(sorted(name for name in _scan()[group] if re.fullmatch(NAME, name)))


def claims(group: Group) -> tuple[Extension, ...]:
    """Return every entry point of a group, also those that cannot be used."""
    found = _scan()[group]
    return tuple(claim for name in sorted(found) for claim in found[name])


def find_extension(group: Group, name: str, *, built_in: bool) -> Extension | None:
    """Return the entry point that a name means; None where it means none.

    Args:
        built_in: whether the program itself has something of that name.

    Raises:
        TrackerError: two packages have the name, or a package and the program: which is meant cannot be told.
    """
    found = _scan()[group].get(name, ())
    owners = [f"package {one.origin} ({one.target})" for one in found]
    if built_in and found:
        owners.insert(0, "norm-tracker itself")
    if len(owners) > 1:
        raise TrackerError(
            f"{GROUPS[group]} {name!r} is claimed by {' and by '.join(owners)}",
            f"uninstall one (pip uninstall {found[-1].package}), or give its entry point another name",
        )
    if not found:
        return None
    if not re.fullmatch(NAME, name):
        raise TrackerError(
            f"{found[0]}: this is not a name", "letters, digits and . _ - after the first, 80 at most: rename it there"
        )
    return found[0]


def extension_versions(recipe: Recipe, spec: DatasetSpec) -> dict[str, str]:
    """Return a run's tags that tell which packages its parts come from; none for what is built in.

    A cell is known by its parts' names alone; these tags tell results of different versions apart.

    Args:
        spec: how the recipe's dataset is stored.

    Returns:
        `{"tracker.extension.models": "small-net from own-parts 1.0 (own_parts.model:SmallNet)"}` and so on.
    """
    used: dict[Group, str] = {
        "tracker.models": recipe.model,
        "tracker.normalizations": recipe.normalization,
        "tracker.datasets": spec.kind,
    }
    tags = {}
    for group, name in used.items():
        for one in _scan()[group].get(name, ()):
            tags[f"tracker.extension.{group.removeprefix('tracker.')}"] = f"{name} from {one.origin} ({one.target})"
    return tags


def forget() -> None:
    """Look through the installed packages anew at the next question."""
    _scan.cache_clear()


@cache
def _scan() -> Mapping[Group, Mapping[str, tuple[Extension, ...]]]:
    """Look through the installed packages once: it takes 20 to 50 ms, and every recipe is checked."""
    known = entry_points()
    found: dict[Group, dict[str, tuple[Extension, ...]]] = {group: {} for group in GROUPS}
    for group, by_name in found.items():
        for point in known.select(group=group):
            package = point.dist.name if point.dist else "unknown"
            version = point.dist.version if point.dist else "unknown"
            one = Extension(group, point.name, point.value, package or "unknown", version or "unknown")
            if one not in by_name.get(point.name, ()):
                by_name[point.name] = tuple(sorted((*by_name.get(point.name, ()), one)))
    return found
