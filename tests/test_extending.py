"""The example package of docs/extending.md: it installs, its three parts are found, and a study runs with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tracker.study import extensions
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.sweep.preflight import preflight
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.sources import random_source

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "own-parts"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example installed with pip into a folder of its own, without a network, and a copy of its source."""
    folder = tmp_path_factory.mktemp("own-parts")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    draw(folder, "shapes.npz", "24")
    shutil.copy(source / "own-parts.yaml", folder)
    return folder


def run(site: Path, *command: str, folder: Path | None = None) -> str:
    """Run a Python module where the example is installed, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site / "site"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", *command]
    done = subprocess.run(arguments, cwd=folder or site, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def draw(site: Path, *arguments: str) -> None:
    """Draw the example's dataset."""
    assert "72 images" in run(site, "own_parts.draw", *arguments)


def test_the_command_finds_what_is_installed(site: Path, tmp_path: Path) -> None:
    """The study of the example loads as it stands; its dataset is here, of a kind the program does not have."""
    table = run(site, "tracker", "data", "list", "--study", "own-parts.yaml", "--home", str(tmp_path / "home"))
    assert re.search(r"shapes +raw ", table)


def test_a_cell_of_own_parts_trains(site: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preflight lets the study through, and an epoch with the package's model, normalization and images runs."""
    monkeypatch.syspath_prepend(str(site / "site"))
    extensions.forget()
    try:
        study = load_study(str(site / "own-parts.yaml"), settings=["epochs=1"])
        (cell,) = [one for one in study.cells if one.name == "small-net/shapes/median-iqr/seed=1"]
        images = preflight(study, study.cells, home, device="cpu").images["shapes"]
        classifier = build_classifier(cell.recipe, images, random_source("small-net"))
        cpu = torch.device("cpu")
        (epoch,) = run_epochs(cell.recipe, classifier, trial_data(cell.recipe, images, cpu), cpu)
        assert images.classes == ("disc", "square", "cross") and len(images.test) == 18
        assert 0 <= epoch.metrics["test_acc"] <= 1
        assert set(extensions.extension_versions(cell.recipe, cell.dataset)) == {
            "tracker.extension.models",
            "tracker.extension.normalizations",
            "tracker.extension.datasets",
        }
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "own_parts"]:
            del sys.modules[name]
        extensions.forget()


@pytest.mark.soak  # a minute of two cores
def test_the_study_of_the_example_is_swept_and_compared(site: Path, tmp_path: Path) -> None:
    """Two commands, as the page says: nine cells, and a leaderboard with the example's names in it."""
    home = ("--home", str(tmp_path / "home"))
    run(site, "tracker", "sweep", "--study", "own-parts.yaml", "--device", "cpu", *home)
    table = run(site, "tracker", "compare", "--study", "own-parts", "--format", "markdown", *home)
    assert re.search(r"small-net \| shapes \|", table) and "median-iqr" in table
    assert "n = 3 seeds" in table


@pytest.mark.soak  # another Python with torch
def test_the_examples_own_tests_pass(site: Path) -> None:
    """The tests that come with the example are true of it."""
    printed = run(site, "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=site / "source")
    assert "5 passed" in printed


def test_the_page_quotes_the_example() -> None:
    """Every piece of code in docs/extending.md stands so in the example: the page cannot drift from what runs."""
    files = [*EXAMPLE.glob("own_parts/*.py"), EXAMPLE / "pyproject.toml", EXAMPLE / "own-parts.yaml"]
    texts = [path.read_text(encoding="utf-8") for path in files]
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^```(?:py|toml|yaml)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(quoted) == 7
    for block in quoted:
        assert any(block in text for text in texts), block
