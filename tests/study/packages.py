"""Packages for tests: made in a folder of their own, found as if they were installed, and gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tracker.study import extensions


class Packages:
    """A place for packages, at the head of `sys.path`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def add(
        self, name: str, points: Mapping[str, Mapping[str, str]], code: str | None = None, version: str = "1.0"
    ) -> None:
        """Install a package, or another version of it.

        Args:
            points: names and targets by group, the group without `tracker.`.
            code: of the module that has the package's name with underscores; None for none.
        """
        for old in self.place.glob(f"{name}-*.dist-info"):
            (old / "METADATA").unlink()
            (old / "entry_points.txt").unlink()
            old.rmdir()
        info = self.place / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, named in points.items():
            lines += [f"[tracker.{group}]", *(f"{point} = {target}" for point, target in named.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        if code is not None:
            (self.place / f"{name.replace('-', '_')}.py").write_text(code)
        self.look_again()

    def look_again(self) -> None:
        """Let the program forget which packages there are, and Python which modules it has imported from here."""
        extensions.forget()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.place)):
                del sys.modules[name]


@contextmanager
def packages_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Give a place for packages; after it nothing of them is left."""
    place.mkdir()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(place))
        patch.setattr(sys, "dont_write_bytecode", True)  # two modules of one second and size would be taken for one
        found = Packages(place)
        found.look_again()
        yield found
        found.look_again()
    extensions.forget()
