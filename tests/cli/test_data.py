"""`tracker data` says what is here, brings what is not, and measures what is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.vision.file_server import serve
from tests.vision.raw_files import published_files, split_folder
from tracker.cli import progress
from tracker.cli.main import cli
from tracker.study.errors import DataDamaged, DataMissing, UsageError
from tracker.study.home import Home
from tracker.vision.datasets import BUILT_IN, open_dataset, packed_folder

STUDY = """
question: which?
recipe: {model: resnet18, dataset: mine, source: digits-0-4, normalization: pretrain}
axes: {seed: [1, 2]}
datasets:
  mine: {kind: folder, path: images}
  digits-0-4: {kind: digits, classes: [0, 1, 2, 3, 4]}
sources:
  digits-0-4: {dataset: digits-0-4}
"""


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A study of a folder of images, with a source trained on some digits."""
    (tmp_path / "mine.yaml").write_text(STUDY)
    split_folder(tmp_path / "images", size=16)
    return str(tmp_path / "mine.yaml")


def run(home: Home, *arguments: str) -> Result:
    """Run a command of the group."""
    return CliRunner().invoke(cli, ["data", *arguments, "--home", str(home.root)])


def document(home: Home, *arguments: str) -> object:
    """Run a command and read the JSON it prints, which must be all it prints to stdout."""
    result = run(home, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_shows_every_built_in_dataset(home: Home) -> None:
    """Each with its state, sizes and the command that gets it; nothing is written."""
    states = document(home, "list")
    assert isinstance(states, list)
    assert {state["name"]: state["state"] for state in states} == {
        name: "raw" if name == "digits" else "missing" for name in BUILT_IN
    }
    assert {state["name"]: state["cure"] for state in states}["svhn"] == "tracker data fetch svhn"
    table = run(home, "list").stdout
    assert "73,257" in table and "tracker data fetch tiny-imagenet-200" in table
    assert not home.root.exists()


def test_list_shows_a_studys_datasets(home: Home, study: str, tmp_path: Path) -> None:
    """With --study those it uses, --set put in."""
    states = document(home, "list", "--study", study)
    assert isinstance(states, list)
    assert {(state["name"], state["state"]) for state in states} == {("mine", "raw"), ("digits-0-4", "raw")}
    moved = document(home, "list", "--study", study, "--set", f"datasets.mine.path={tmp_path / 'gone'}")
    assert isinstance(moved, list)
    assert {(state["name"], state["state"]) for state in moved} == {("mine", "missing"), ("digits-0-4", "raw")}


def test_set_needs_a_study(home: Home) -> None:
    """--set without --study would do nothing, so it is refused."""
    result = run(home, "list", "--set", "datasets.mine.path=x")
    assert isinstance(result.exception, UsageError)


def test_fetch_brings_and_packs(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fetch the dataset is ready; messages went to stderr."""
    with serve(published_files("svhn", tmp_path / "mirror", monkeypatch)) as server:
        result = run(home, "fetch", "svhn", "--mirror", server.address)
    assert result.exit_code == 0 and result.stdout == ""
    assert "download train_32x32.mat" in result.stderr and "svhn: ready, 20 + 10 images" in result.stderr
    states = document(home, "list")
    assert isinstance(states, list)
    assert {state["name"] for state in states if state["state"] == "ready"} == {"svhn"}


def test_fetch_a_study_prepares_all_it_uses(home: Home, study: str) -> None:
    """--study alone packs its folders and digits too, so that a sweep finds everything ready."""
    result = run(home, "fetch", "--study", study)
    assert result.exit_code == 0, result.output
    states = document(home, "list", "--study", study)
    assert isinstance(states, list) and [state["state"] for state in states] == ["ready", "ready"]


def test_fetch_a_study_brings_its_weights(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torchvision weights of a study are fetched with it, under their own names and sums."""
    from torchvision.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()[:8]
    weights = ResNet18_Weights.IMAGENET1K_V1
    changed = type(weights.value)(f"https://example.org/resnet18-{digest}.pth", weights.transforms, weights.meta)
    monkeypatch.setattr(weights, "_value_", changed)
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("source: digits-0-4,", "").replace("dataset: mine", "dataset: digits"))
    with serve({f"resnet18-{digest}.pth": content}) as server:
        first = run(home, "fetch", "--study", str(study), "--mirror", server.address)
        again = run(home, "fetch", "--weights", "resnet18:IMAGENET1K_V1", "--mirror", server.address)
        assert first.exit_code == again.exit_code == 0, first.output
        assert len(server.requests) == 1
    assert (home.weights / f"resnet18-{digest}.pth").read_bytes() == content


@pytest.mark.parametrize(
    "arguments", [(), ("nothing",), ("mine",), ("--weights", "resnet18"), ("--weights", "resnet18:NONE")]
)
def test_fetch_of_nothing_known_is_wrong_usage(home: Home, arguments: tuple[str, ...]) -> None:
    """A name that is no dataset, or none at all, is told with those there are."""
    result = run(home, "fetch", *arguments)
    assert isinstance(result.exception, UsageError) and result.exception.cure


def test_fetch_of_a_folder_that_is_not_here(home: Home, study: str, tmp_path: Path) -> None:
    """One's own folder cannot be fetched: the error names the path to set."""
    result = run(home, "fetch", "mine", "--study", study, "--set", f"datasets.mine.path={tmp_path / 'gone'}")
    assert isinstance(result.exception, DataMissing)
    assert "datasets.mine.path=FOLDER" in str(result.exception.cure)


def test_stats_without_a_name_is_table_1(home: Home) -> None:
    """The published statistics under ImageNet's, Tiny ImageNet's row in RGB."""
    table = run(home, "stats").stdout
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert "-0.02, -0.04, -0.04" in rows["tiny-imagenet-200"] and "1.21, 1.20, 1.25" in rows["tiny-imagenet-200"]
    assert "0.03, 0.12, 0.18" in rows["cifar10"] and "1.08, 1.09, 1.16" in rows["cifar10"]
    assert set(rows) >= {"cifar10", "cifar100", "svhn", "tiny-imagenet-200"}


def test_stats_of_a_dataset_are_exact_beside_published(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact ones come from the images at hand, published ones from the table, both under the source's."""
    with serve(published_files("cifar10", tmp_path / "mirror", monkeypatch)) as server:
        run(home, "fetch", "cifar10", "--mirror", server.address)
    found = document(home, "stats", "cifar10")
    assert isinstance(found, dict)
    exact = open_dataset("cifar10", BUILT_IN["cifar10"], home).statistics
    own = found["datasets"]["cifar10"]
    assert own["exact"]["mean"] == list(exact.mean) and own["published"]["mean"] == [0.4914, 0.4822, 0.4465]
    assert own["exact"]["under_source"]["mean"][0] == pytest.approx((exact.mean[0] - 0.485) / 0.229)
    assert found["source"]["name"] == "imagenet" and found["source"]["kind"] == "published"


def test_stats_of_gray_images(home: Home) -> None:
    """A one-channel dataset under a three-channel source has three numbers; under its own, mean 0 and deviation 1."""
    found = document(home, "stats", "digits")
    assert isinstance(found, dict)
    assert len(found["datasets"]["digits"]["exact"]["under_source"]["mean"]) == 3
    assert "published" not in found["datasets"]["digits"]
    own = document(home, "stats", "digits", "--source", "digits")
    assert isinstance(own, dict)
    assert own["datasets"]["digits"]["exact"]["under_source"] == {"mean": [0.0], "std": [1.0]}


def test_stats_under_a_studys_source(home: Home, study: str) -> None:
    """Any dataset of the study can be the source."""
    found = document(home, "stats", "mine", "--study", study, "--source", "digits-0-4")
    assert isinstance(found, dict)
    assert found["source"]["kind"] == "exact" and len(found["datasets"]["mine"]["exact"]["under_source"]["std"]) == 3


def test_verify_tells_whole_from_damaged(home: Home) -> None:
    """Whole sets are named and all is well; one altered byte is an error that names the file and the cure."""
    open_dataset("digits", BUILT_IN["digits"], home)
    open_dataset("other", BUILT_IN["digits"], home)
    result = run(home, "verify")
    assert result.exit_code == 0 and result.stdout.count("whole") == 2
    path = packed_folder("digits", BUILT_IN["digits"], home) / "test_images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = run(home, "verify")
    assert isinstance(result.exception, DataDamaged) and str(path) in result.exception.message
    assert result.stdout.count("whole") == 1 and result.stdout.count("DAMAGED") == 1
    assert "delete the folder" in str(result.exception.cure)
    assert run(home, "verify", "other").exit_code == 0


def test_verify_of_what_is_not_packed(home: Home) -> None:
    """A name that is not packed is missing; nothing packed at all is no failure."""
    assert isinstance(run(home, "verify", "svhn").exception, DataMissing)
    result = run(home, "verify")
    assert result.exit_code == 0 and "nothing is packed" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    """The group's help needs click alone."""
    program = (
        "import sys; from click.testing import CliRunner; from tracker.cli.main import cli; "
        "assert CliRunner().invoke(cli, ['data', 'fetch', '--help']).exit_code == 0; "
        "print([name for name in ('torch', 'numpy', 'rich', 'yaml', 'pydantic') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_progress_is_bars_on_a_terminal(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a task has a bar that ends at 100 %, on stderr."""
    monkeypatch.setattr(progress, "stderr_console", lambda: Console(stderr=True, force_terminal=True))
    result = run(home, "fetch", "digits")
    assert result.exit_code == 0 and result.stdout == ""
    assert "pack digits train" in result.stderr and "100%" in result.stderr and "..." not in result.stderr
