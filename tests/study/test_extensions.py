"""Names that installed packages add: found without importing anything, told apart, and noted with every run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.study.packages import Packages, packages_in
from tracker.study.errors import StudyError, TrackerError
from tracker.study.extensions import claims, extension_versions, find_extension, installed
from tracker.study.load import parse_study
from tracker.study.recipe import DATASET_KINDS, NORMALIZATIONS, dataset_kinds, dataset_names, normalization_names

BOMB = "raise SystemExit('imported')"
DOCUMENT: dict[str, Any] = {
    "name": "own",
    "question": "Which one?",
    "recipe": {"model": "own-net", "dataset": "blobs", "source": "random"},
    "axes": {"normalization": ["minmax", "own-norm"], "seed": [1, 2]},
    "baseline": "minmax",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A place for packages, with one in it that has a part of each kind and cannot be imported."""
    with packages_in(tmp_path / "site", monkeypatch) as found:
        points = {
            "models": {"own-net": "own:net"},
            "normalizations": {"own-norm": "own:norm", "another": "own:another"},
            "datasets": {"blobs": "own:blobs"},
        }
        found.add("own", points, BOMB)
        yield found


def test_names_stand_behind_the_built_in_ones(packages: Packages) -> None:
    """Sorted, the same on every machine; a folder is no dataset by itself, a package's kind is."""
    assert normalization_names() == [*NORMALIZATIONS, "another", "own-norm"]
    assert dataset_kinds() == [*DATASET_KINDS, "blobs"]
    assert dataset_names() == [*(kind for kind in DATASET_KINDS if kind != "folder"), "blobs"]
    assert installed("tracker.models") == ("own-net",)


def test_a_study_is_read_without_importing_its_parts(packages: Packages) -> None:
    """Names are enough for the grid, so a package that is broken does not keep a study from being looked at."""
    study = parse_study({**DOCUMENT, "datasets": {"more": {"kind": "blobs", "image_size": 16}}}, file="own.yaml")
    assert {cell.recipe.normalization for cell in study.cells} == {"minmax", "own-norm"}
    assert study.datasets["more"].kind == "blobs"


def test_a_cell_is_known_by_the_name_alone(packages: Packages) -> None:
    """Another version of the package makes no other cells; the run's tags tell the versions apart."""
    cell = parse_study(DOCUMENT, file="own.yaml").cells[-1]
    tags = extension_versions(cell.recipe, cell.dataset)
    packages.add("own", {"normalizations": {"own-norm": "own.new:norm"}, "datasets": {"blobs": "own:b"}}, version="2.0")
    again = parse_study(DOCUMENT, file="own.yaml").cells[-1]
    assert again.id == cell.id and cell.identity()["recipe"]["normalization"] == "own-norm"
    assert tags == {
        "tracker.extension.models": "own-net from own 1.0 (own:net)",
        "tracker.extension.normalizations": "own-norm from own 1.0 (own:norm)",
        "tracker.extension.datasets": "blobs from own 1.0 (own:blobs)",
    }
    assert extension_versions(again.recipe, again.dataset) == {
        "tracker.extension.normalizations": "own-norm from own 2.0 (own.new:norm)",
        "tracker.extension.datasets": "blobs from own 2.0 (own:b)",
    }


def test_what_is_built_in_has_no_tag(packages: Packages) -> None:
    """The program's own version is on every run already."""
    recipe = {"model": "resnet18", "dataset": "digits", "normalization": "minmax"}
    document = {**DOCUMENT, "recipe": recipe, "axes": {"seed": [1]}}
    (cell,) = parse_study(document, file="own.yaml").cells
    assert extension_versions(cell.recipe, cell.dataset) == {}


@pytest.mark.parametrize(
    ("changes", "key", "problem", "accepted"),
    [
        ({"axes": {"normalization": ["minmax", "own-nrom"]}}, "axes.normalization[1]", "not a norm", "own-norm? All: "),
        ({"recipe": {**DOCUMENT["recipe"], "dataset": "blob"}}, "recipe.dataset", "not a dataset", "blobs? All: "),
        ({"datasets": {"d": {"kind": "blobbs"}}}, "datasets.d.kind", "is 'blobbs', which", "blobs? All: cifar10"),
        ({"datasets": {"d": {"kind": "qqq"}}}, "datasets.d.kind", "is 'qqq', which", "blobs; or install the package"),
        ({"datasets": {"d": {"kind": 5}}}, "datasets.d.kind", "5: input should be", "cifar10, cifar100"),
        ({"datasets": {"d": {"kind": "blobs", "unreadable": "skip"}}}, "datasets.d", "goes with `kind: folder`", None),
        ({"datasets": {"d": {"kind": "blobs", "classes": ["a", "a"]}}}, "datasets.d", "names a class twice", None),
    ],
)
def test_mistakes_are_named_with_what_packages_have(
    packages: Packages, changes: dict[str, Any], key: str, problem: str, accepted: str | None
) -> None:
    """A near name of a package is offered like a built-in one; a name unlike any may be of a package not here."""
    with pytest.raises(StudyError) as caught:
        parse_study({**DOCUMENT, **changes}, file="own.yaml")
    assert caught.value.key == key and problem in caught.value.problem
    assert accepted is None or (caught.value.accepted is not None and accepted in caught.value.accepted)


def test_a_studys_own_dataset_comes_before_a_packages(packages: Packages) -> None:
    """Installing a package never changes what a name of a study's `datasets` section means."""
    study = parse_study({**DOCUMENT, "datasets": {"blobs": {"kind": "digits"}}}, file="own.yaml")
    assert {cell.dataset.kind for cell in study.cells} == {"digits"}


def test_two_packages_of_one_name_are_told_apart_by_nobody(packages: Packages) -> None:
    """Where the name is used the error names both, with their versions; other names go on."""
    packages.add("other", {"models": {"own-net": "other:net"}}, version="3.1")
    with pytest.raises(TrackerError, match=r"'own-net' is claimed by package other 3\.1 \S+ and by package own 1\.0"):
        find_extension("tracker.models", "own-net", built_in=False)
    assert find_extension("tracker.datasets", "blobs", built_in=False) is not None
    assert len(claims("tracker.models")) == 2


def test_a_built_in_name_is_not_taken_over(packages: Packages) -> None:
    """A package that calls its own normalization minmax does not decide what minmax is, nor is it passed over."""
    packages.add("thief", {"normalizations": {"minmax": "thief:norm"}})
    assert normalization_names().count("minmax") == 1
    with pytest.raises(TrackerError, match=r"'minmax' is claimed by norm-tracker itself and by package thief 1\.0"):
        find_extension("tracker.normalizations", "minmax", built_in=True)


def test_a_name_that_is_no_name_is_not_offered(packages: Packages) -> None:
    """A kind names folders on the disk, so one with a slash in it is refused, and no study can use it."""
    packages.add("wild", {"datasets": {"../../up": "wild:data"}})
    assert dataset_kinds() == [*DATASET_KINDS, "blobs"]
    with pytest.raises(TrackerError, match=r"wild 1\.0 .*this is not a name"):
        find_extension("tracker.datasets", "../../up", built_in=False)


def test_nothing_is_installed_without_packages() -> None:
    """A name that nobody has is None, whatever the group."""
    assert find_extension("tracker.models", "own-net-of-nobody", built_in=False) is None
