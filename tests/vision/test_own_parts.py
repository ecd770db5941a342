"""Models and normalizations of packages: built like the program's own, and blamed by name when they do not work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.study.packages import Packages, packages_in
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.vision.checkpoint import CheckpointFacts, load_classifier, save_checkpoint
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network, check_model
from tracker.vision.normalizations import build_normalization
from tracker.vision.sources import weights_file

HALF = Statistics((0.5,), (0.25,))

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, channels):
        super().__init__()
        self.rate = torch.linspace(0, 1, 3)[1].item()  # what the meta device cannot do
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(4, 10)

    def forward(self, images):
        return self.last(self.body(images))

class Twice(nn.Module):
    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, images):
        return images.float().div(255).sub(self.mean.view(-1, 1, 1)).mul(2)

def twice(target, source):
    return Twice(target.mean)

def raises(*positional, **named):
    raise ZeroDivisionError("on purpose")

def text(*positional, **named):
    return "no module"

def bare(*, channels):
    return nn.Flatten()

number = 5
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A place for packages, with one in it whose parts work."""
    with packages_in(tmp_path / "site", monkeypatch) as found:
        found.add("own", {"models": {"own-net": "own:Net"}, "normalizations": {"twice": "own:twice"}}, CODE)
        yield found


def test_a_packages_model_is_built_as_torchvisions_are(packages: Packages) -> None:
    """Seeded, with a head of its own seed that does not depend on the rest, and for one channel or three."""
    one, head = build_network("own-net", channels=3, classes=5, seed=1)
    torch.manual_seed(99)
    same, _ = build_network("own-net", channels=3, classes=5, seed=1)
    other, _ = build_network("own-net", channels=3, classes=5, seed=2)
    gray, _ = build_network("own-net", channels=1, classes=5, seed=1)
    assert head == "last"
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.state_dict()["body.0.weight"], other.state_dict()["body.0.weight"])
    assert torch.equal(one.state_dict()["last.weight"], gray.state_dict()["last.weight"])
    assert gray(torch.zeros(2, 1, 8, 8)).shape == (2, 5)


def test_a_packages_model_is_measured_without_memory(packages: Packages) -> None:
    """On the meta device it is built too, though its code computes: sizes and estimates count it so."""
    with torch.device("meta"):
        network, _ = build_network("own-net", channels=3, classes=1000, seed=0)
    assert {tensor.device.type for tensor in network.parameters()} == {"meta"}
    assert sum(tensor.numel() for tensor in network.parameters()) == 3 * 4 * 9 + 4 + 5 * 1000


def test_a_checkpoint_brings_both_back(packages: Packages, tmp_path: Path) -> None:
    """Model and normalization are built by name, and the tensors are those that were saved."""
    network, head = build_network("own-net", channels=1, classes=3, seed=4)
    module = build_normalization("twice", target=HALF, source=None)
    classifier = Classifier(module, network, head, 1).eval()
    facts = CheckpointFacts(
        model="own-net", channels=1, image_size=8, classes=("a", "b", "c"), normalization="twice", target=HALF,
        source=None, dataset="blobs", fingerprint="0" * 16, epoch=0, test_acc=0.5, recipe={}, identity="x",
    )  # fmt: skip
    save_checkpoint(tmp_path / "x.safetensors", classifier.state_dict(), facts)
    loaded, _ = load_classifier(tmp_path / "x.safetensors")
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(images), classifier(images))
    assert torch.allclose(loaded.normalization(images), (images / 255 - 0.5) * 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("own:raises", r"cannot be built.*ZeroDivisionError: on purpose \(.*own\.py:\d+\)"),
        ("own:text", "gives str, not a torch.nn.Module"),
        ("own:number", "cannot be built.*TypeError"),
        ("own:nothing", "cannot be imported: AttributeError"),
        ("nowhere_at_all:x", "cannot be imported: ModuleNotFoundError"),
        ("bad:x", "cannot be imported: SyntaxError"),
        ("leaves:x", r"cannot be imported: SystemExit: 3 \(.*leaves\.py:1\)"),
        ("own:a:b", "cannot be imported"),
    ],
)
def test_a_part_that_does_not_work_is_blamed(packages: Packages, target: str, message: str) -> None:
    """Package, version, entry point, what failed and where; the parts beside it go on working."""
    packages.add("bad", {}, "def\n")
    packages.add("leaves", {}, "raise SystemExit(3)\n")
    packages.add("broken", {"models": {"b-net": target}, "normalizations": {"b-norm": target}}, version="0.3")
    with pytest.raises(TrackerError, match=rf"(?s)model 'b-net' of package broken 0\.3 \({target}\).*{message}") as one:
        build_network("b-net", channels=3, classes=2, seed=0)
    assert one.value.cure is not None and "docs/extending.md" in one.value.cure
    with pytest.raises(TrackerError, match=rf"(?s)normalization 'b-norm' of package broken 0\.3.*{message}"):
        build_normalization("b-norm", target=HALF, source=None)
    build_network("own-net", channels=3, classes=2, seed=0)
    build_normalization("twice", target=HALF, source=None)


def test_a_model_without_a_head_is_blamed(packages: Packages) -> None:
    """What has no layer with weights gives no classifier."""
    packages.add("bare", {"models": {"bare": "own:bare"}})
    with pytest.raises(TrackerError, match=r"'bare' of package bare 1\.0 .*there is no head to replace"):
        build_network("bare", channels=3, classes=2, seed=0)


def test_unknown_models_are_told_with_those_of_packages(packages: Packages) -> None:
    """The error says what torchvision and the packages have; a name of both belongs to neither."""
    with pytest.raises(UsageError, match=r"no model 'own-nett'.* packages have own-net(.|\n)*others: own-net"):
        check_model("own-nett")
    packages.add("thief", {"models": {"resnet18": "own:Net"}})
    with pytest.raises(TrackerError, match=r"'resnet18' is claimed by norm-tracker itself and by package thief 1\.0"):
        build_network("resnet18", channels=3, classes=2, seed=0)
    check_model("resnet34")


def test_a_packages_model_has_no_torchvision_weights(packages: Packages, home: Home) -> None:
    """The error says how it gets weights."""
    with pytest.raises(UsageError, match=r"has no torchvision weights(.|\n)*tracker pretrain"):
        weights_file("own-net", "IMAGENET1K_V1", home=home)


def test_no_package_decides_what_a_built_in_normalization_is(packages: Packages) -> None:
    """Neither is taken without a word."""
    packages.add("thief", {"normalizations": {"minmax": "own:twice"}})
    with pytest.raises(TrackerError, match=r"'minmax' is claimed by norm-tracker itself and by package thief"):
        build_normalization("minmax", target=HALF, source=None)
