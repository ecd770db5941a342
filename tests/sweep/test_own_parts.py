"""Parts of packages in a sweep: looked at before it starts, and trained like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.study.packages import Packages, packages_in
from tracker.study.errors import PreflightError, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.sweep.checkup.extensions import check_extensions
from tracker.sweep.preflight import check_models, preflight
from tracker.sweep.sizes import checkpoint_bytes

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(4, 10)

    def forward(self, images):
        return self.last(self.body(images))

class Backwards(Net):
    def __init__(self, *, channels):
        super().__init__(channels=channels)
        self.unused = nn.Linear(4, 4)

class Falls(Net):
    def forward(self, images):
        raise IndexError("no such pixel")

class Pair(Net):
    def forward(self, images):
        return images, images

class Unit(nn.Module):
    def forward(self, images):
        return images.float().div(255).sub(0.5)

class Double(nn.Module):
    def forward(self, images):
        return images.double()

class Smaller(nn.Module):
    def forward(self, images):
        return images[:, :, 1:].float()

class Breaks(nn.Module):
    def forward(self, images):
        raise IndexError("no such channel")

class Scribbles(nn.Module):
    def forward(self, images):
        images += 1
        return images.float()

unit, double, smaller, breaks, scribbles = (
    lambda target, source, kind=kind: kind() for kind in (Unit, Double, Smaller, Breaks, Scribbles)
)
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A place for packages, with a model and a normalization that work."""
    with packages_in(tmp_path / "site", monkeypatch) as found:
        found.add("own", {"models": {"net": "own:Net"}, "normalizations": {"unit": "own:unit"}}, CODE)
        yield found


def study(**recipe: Any) -> Study:
    """Return a study of the digits with two normalizations."""
    document = {
        "name": "own",
        "question": "Which one?",
        "baseline": "minmax",
        "recipe": {"model": "net", "dataset": "digits", "source": "random", "epochs": 1, **recipe},
        "axes": {"normalization": ["minmax", "unit"]},
    }
    return parse_study(document, file="own.yaml")


def test_a_sweep_of_own_parts_may_start(packages: Packages, home: Home) -> None:
    """Preflight lets them through, and their sizes are known."""
    own = study()
    assert set(preflight(own, own.cells, home, device="cpu").images) == {"digits"}
    assert checkpoint_bytes("net") == 4 * (3 * 4 * 9 + 4 + 5 * 1000)


@pytest.mark.parametrize(
    ("group", "target", "message"),
    [
        ("models", "Backwards", r"gives \(8, 10\) where its head 'unused', its last linear layer, gives \(8, 11\)"),
        ("models", "Falls", r"fails on the 8 x 8 images of dataset digits: IndexError: no such pixel \(.*own\.py"),
        ("models", "Pair", "gives tuple for a batch"),
        ("normalizations", "double", r"gives float64 \(8, 1, 8, 8\) for uint8"),
        ("normalizations", "smaller", r"gives float32 \(8, 1, 7, 8\) for uint8"),
        ("normalizations", "breaks", "IndexError: no such channel"),
        ("normalizations", "scribbles", "changes the images"),
        ("normalizations", "Net", "cannot be built"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    packages: Packages, home: Home, group: str, target: str, message: str
) -> None:
    """Before anything is trained, with the package's name; a head that is not the last layer is seen too."""
    parts = {"models": {"net": "own:Net"}, "normalizations": {"unit": "own:unit"}}
    parts[group] = dict.fromkeys(parts[group], f"own:{target}")
    packages.add("own", parts, CODE)
    with pytest.raises(PreflightError, match=rf"of package own 1\.0 \(own:{target}\).*{message}") as caught:
        preflight(study(), study().cells, home, device="cpu")
    assert len(caught.value.obstacles) == 1


def test_weights_that_there_are_not_are_refused_at_once(packages: Packages) -> None:
    """Torchvision has none for a package's model: the error says how it gets some."""
    with pytest.raises(UsageError, match=r"study own: model 'net' .* no torchvision weights(.|\n)*tracker pretrain"):
        check_models(study(source="torchvision"))
    check_models(study(source="made-before"))


def test_a_broken_package_harms_only_who_uses_it(packages: Packages, home: Home) -> None:
    """A sweep that does not name its parts starts; one that does is told."""
    broken = {"models": {"bad": "nowhere:x"}, "normalizations": {"worse": "nowhere:x"}, "datasets": {"w": "nowhere:x"}}
    packages.add("broken", broken)
    own = study()
    preflight(own, own.cells, home, device="cpu")
    with pytest.raises(TrackerError, match=r"'bad' of package broken 1\.0 \(nowhere:x\): cannot be imported"):
        preflight(study(model="bad"), study(model="bad").cells, home, device="cpu")


def test_the_doctor_looks_at_every_part(packages: Packages) -> None:
    """What does not work is a problem where the study needs it, else a warning; nothing is said where none is."""
    packages.add("broken", {"models": {"bad": "nowhere:x"}, "datasets": {"digits": "nowhere:x"}})
    assert [finding.level for finding in check_extensions(None)] == ["warning", "ok", "ok", "warning"]
    found = list(check_extensions(study(model="bad")))
    assert [finding.level for finding in found] == ["problem", "ok", "ok", "problem"]
    assert found[1].message == "model 'net' of package own 1.0 (own:Net)" and found[0].cure
    packages.add("broken", {})
    packages.add("own", {})
    assert list(check_extensions(None)) == []
