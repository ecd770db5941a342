"""Checkpoints: whole, safe, and honest about damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tracker.study.errors import DataDamaged, SourceMissing
from tracker.vision.checkpoint import CheckpointFacts, load_classifier, read_checkpoint, save_checkpoint
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import build_normalization
from tracker.vision.sources import checkpoint_source

TARGET = Statistics((0.3,), (0.2,))
SOURCE = Statistics((0.4,), (0.25,))


def facts(normalization: str) -> CheckpointFacts:
    """Return the facts of a small checkpoint."""
    return CheckpointFacts(
        model="resnet18",
        channels=1,
        image_size=32,
        classes=("a", "b", "ü/…"),
        normalization=normalization,
        target=TARGET,
        source=SOURCE,
        dataset="digits",
        fingerprint="f" * 16,
        epoch=3,
        test_acc=0.75,
        recipe={"lr": 0.001},
        identity="0123456789ab",
    )


def classifier(normalization: str) -> Classifier:
    """Return a seeded classifier."""
    network, head = build_network("resnet18", channels=1, classes=3, seed=4)
    first = build_normalization(normalization, target=TARGET, source=SOURCE)
    return Classifier(first, network, head, 1).eval()


@pytest.mark.parametrize("normalization", ["finetune", "pretrain", "instance", "minmax"])
def test_a_loaded_classifier_answers_as_the_saved_one(tmp_path: Path, normalization: str) -> None:
    """Raw bytes in, the same logits out, bit by bit: the normalization is inside."""
    model = classifier(normalization)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, model.state_dict(), facts(normalization))
    loaded, said = load_classifier(path)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert said == facts(normalization)


def test_a_network_of_tensorflows_weights_keeps_its_range(tmp_path: Path) -> None:
    """GoogLeNet fine-tuned from torchvision's weights maps its input, reloaded too; from random weights it does not."""
    network, head = build_network("googlenet", channels=3, classes=3, seed=4)
    colour = Statistics((0.3,) * 3, (0.2,) * 3)
    model = Classifier(build_normalization("finetune", target=colour, source=None), network, head, 3)
    for source, expected in (("torchvision", True), ("random", False)):
        said = replace(
            facts("finetune"), model="googlenet", channels=3, target=colour, source=None, recipe={"source": source}
        )
        save_checkpoint(tmp_path / f"{source}.safetensors", model.state_dict(), said)
        loaded, _ = load_classifier(tmp_path / f"{source}.safetensors")
        assert loaded.network.transform_input is expected


def test_a_checkpoint_is_a_source_with_the_statistics_it_was_trained_on(tmp_path: Path) -> None:
    """u0 and std0 of a source are those of the dataset it was trained on."""
    path = tmp_path / "source.safetensors"
    save_checkpoint(path, classifier("finetune").state_dict(), facts("finetune"))
    source = checkpoint_source("mine", path)
    assert source.statistics == TARGET
    assert source.channels == 1
    assert source.state is not None
    assert "conv1.weight" in source.state


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(SourceMissing, match=r"no\.safetensors"):
        read_checkpoint(tmp_path / "no.safetensors")


@pytest.mark.parametrize("damage", ["truncated", "header", "garbage", "empty"])
def test_a_damaged_checkpoint_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    """Truncation, a broken header and garbage are refused by name, never a traceback of a parser."""
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, classifier("minmax").state_dict(), facts("minmax"))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "header": b"\xff" * 64 + whole[64:],
            "garbage": b"this is no checkpoint" * 10,
            "empty": b"",
        }[damage]
    )
    with pytest.raises(DataDamaged, match=r"best\.safetensors"):
        load_classifier(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    """A file of another program is not taken for a checkpoint; nor is one with facts that cannot be read."""
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(DataDamaged, match="not a tracker checkpoint"):
        read_checkpoint(foreign)
    broken = {"format": "tracker checkpoint 1", "facts": json.dumps({"model": "resnet18"})}
    save_file({"x": torch.zeros(2)}, foreign, metadata=broken)
    with pytest.raises(DataDamaged, match="description"):
        read_checkpoint(foreign)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    """A pickled checkpoint with code in it is refused, and its code does not run."""
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    path = tmp_path / "evil.safetensors"
    torch.save({"x": Attack()}, path)
    with pytest.raises(DataDamaged):
        read_checkpoint(path)
    assert not marker.exists()
