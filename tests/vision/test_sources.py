"""Sources: found or named as missing, verified, and never executed."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
import torchvision

from tracker.study.errors import DataDamaged, SourceError, SourceMissing, UsageError
from tracker.study.home import Home
from tracker.vision.models import build_network, load_backbone
from tracker.vision.sources import find_source, source_path, torchvision_source, weights_file

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(autouse=True)
def _empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine's cache take part."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def put_weights(folder: Path, model: str, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a weights file whose name carries its own hash, and have torchvision expect that name."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft.pth"
    torch.save(state, draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()[:8]
    path = draft.rename(folder / f"{model}-{digest}.pth")
    member = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
    changed = dataclasses.replace(member.value, url=f"https://download.pytorch.org/models/{path.name}")
    monkeypatch.setattr(member, "_value_", changed)
    return path


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "densenet121", "densenet161"])
def test_missing_weights_are_named_with_size_and_command(home: Home, model: str) -> None:
    """Without the file the error says which weights, how large, where they belong and what gets them."""
    file = weights_file(model, "IMAGENET1K_V1", home=home)
    assert (file.statistics.mean, file.statistics.std) == IMAGENET
    assert file.megabytes > 20
    with pytest.raises(SourceMissing) as caught:
        torchvision_source(model, file)
    text = str(caught.value)
    assert f"{model} IMAGENET1K_V1" in text
    assert f"{file.megabytes:.0f} MB" in text
    assert "tracker data fetch --weights" in text


def test_weights_are_loaded_from_weights_dir(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in --weights-dir becomes a source with ImageNet's statistics, and fits the network."""
    state = torchvision.models.resnet18(num_classes=1000).state_dict()
    put_weights(tmp_path / "w", "resnet18", state, monkeypatch)
    source = torchvision_source(
        "resnet18", weights_file("resnet18", "IMAGENET1K_V1", home=home, weights_dir=tmp_path / "w")
    )
    assert source.statistics is not None
    assert (source.statistics.mean, source.statistics.std) == IMAGENET
    network, head = build_network("resnet18", channels=3, classes=10, seed=0)
    assert source.state is not None
    load_backbone(network, head, source.state, "weights")
    assert torch.equal(network.state_dict()["conv1.weight"], state["conv1.weight"])


def test_densenets_old_tensor_names_are_understood(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseNet's published files call `norm1` `norm.1`; they load all the same."""
    state = torchvision.models.densenet121(num_classes=1000).state_dict()
    old = {}
    for name, tensor in state.items():
        for part in ("norm", "conv"):
            for number in "12":
                if ".denselayer" in name:
                    name = name.replace(f".{part}{number}.", f".{part}.{number}.")
        old[name] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    put_weights(home.weights, "densenet121", old, monkeypatch)
    source = torchvision_source("densenet121", weights_file("densenet121", "IMAGENET1K_V1", home=home))
    network, head = build_network("densenet121", channels=3, classes=10, seed=0)
    assert source.state is not None
    load_backbone(network, head, source.state, "weights")


def test_damaged_weights_are_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose hash is not in its name is damaged, and said to be."""
    path = put_weights(home.weights, "resnet18", {"x": torch.zeros(3)}, monkeypatch)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataDamaged, match="SHA-256"):
        torchvision_source("resnet18", weights_file("resnet18", "IMAGENET1K_V1", home=home))


def test_pickled_code_in_weights_does_not_run(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are read with weights_only: code in them is refused."""
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    put_weights(home.weights, "resnet18", {"x": Attack()}, monkeypatch)  # type: ignore[dict-item]
    with pytest.raises(DataDamaged, match="cannot be read as weights"):
        torchvision_source("resnet18", weights_file("resnet18", "IMAGENET1K_V1", home=home))
    assert not marker.exists()


def test_unknown_weights_are_refused_with_those_there_are(home: Home) -> None:
    """`IMAGENET` is answered with the names torchvision has."""
    with pytest.raises(UsageError, match="IMAGENET1K_V1"):
        weights_file("resnet18", "IMAGENET", home=home)


def test_a_named_source_is_found_once(home: Home) -> None:
    """One checkpoint of a name is found, none and several are errors that say what to do."""
    with pytest.raises(SourceMissing, match="tracker pretrain --name mine"):
        find_source(home, "mine", "resnet18")
    path = source_path(home, "mine", "resnet18", "aaaaaaaaaaaa")
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_source(home, "mine", "resnet18") == path
    source_path(home, "mine", "resnet18", "bbbbbbbbbbbb").touch()
    with pytest.raises(SourceError, match="2 sources"):
        find_source(home, "mine", "resnet18")
