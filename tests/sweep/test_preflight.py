"""Preflight: everything that would go wrong is said at once, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tracker.study.errors import PreflightError, UsageError
from tracker.study.home import Home
from tracker.study.load import load_study, parse_study
from tracker.study.study import Study
from tracker.sweep.preflight import preflight


@pytest.fixture(autouse=True)
def _empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine's cache take part."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def study_of(recipe: dict[str, Any], axes: dict[str, Any], **others: Any) -> Study:
    """Return a study on small digits."""
    document = {
        "name": "probe",
        "question": "What would go wrong?",
        "datasets": {
            "low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 32},
            "high": {"kind": "digits", "classes": [7, 8, 9], "image_size": 32},
        },
        "sources": {"low": {"dataset": "low", "epochs": 1}},
        "recipe": {"model": "resnet18", "dataset": "high", "source": "low", "epochs": 1, **recipe},
        "axes": axes,
        **others,
    }
    return parse_study(document, file="probe.yaml")


def obstacles(study: Study, home: Home, **options: Any) -> str:
    """Return what preflight finds, as the user reads it."""
    with pytest.raises(PreflightError) as caught:
        preflight(study, study.cells, home, **{"device": "cpu", **options})
    return str(caught.value)


ALL = {"normalization": ["pretrain", "finetune", "instance", "minmax"]}


def test_a_study_that_can_run_passes(home: Home) -> None:
    """The device and every dataset, the sources' included, come back opened."""
    study = study_of({}, ALL)
    checked = preflight(study, study.cells, home, device="cpu")
    assert checked.device == torch.device("cpu")
    assert set(checked.images) == {"high", "low"}


def test_every_obstacle_is_named_at_once_with_its_cure(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference grid on an empty machine without CUDA: device, four datasets, four weights, each with a command."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    study = load_study("norm-test")
    text = obstacles(study, home, device=study.device)
    assert "9 obstacles" in text
    assert "no CUDA device" in text
    for dataset in ("cifar10", "cifar100", "svhn", "tiny-imagenet-200"):
        assert f"dataset {dataset} is not on this machine" in text
        assert f"tracker data fetch {dataset}\n" in text
    for model in ("resnet18", "resnet50", "densenet121", "densenet161"):
        assert f"weights {model} IMAGENET1K_V1 are not on this machine (" in text
        assert f"tracker data fetch --weights {model}:IMAGENET1K_V1" in text
    assert text.count(" MB") == 8


def test_two_normalizations_that_do_the_same_are_refused(home: Home) -> None:
    """Fine-tuning on the source's own images makes pretrain and finetune one: nothing would be compared."""
    text = obstacles(study_of({"dataset": "low"}, ALL), home)
    assert "normalizations pretrain and finetune do the same on dataset low" in text
    assert "1 obstacle:" in text


def test_pretrain_on_random_weights_is_refused(home: Home) -> None:
    """Random weights have no statistics."""
    assert "random weights" in obstacles(study_of({"source": "random"}, ALL), home)


def test_a_precision_that_the_device_does_not_have_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU would quietly compute in fp32 where TF32 is asked for; slow bfloat16 is allowed, and told."""
    text = obstacles(study_of({}, {**ALL, "precision": ["fp32", "tf32"]}), home)
    assert "1 obstacle:" in text
    assert "recipe.precision tf32: this CPU cannot compute in it" in text and "recipe.precision: fp32 or bf16" in text
    source = {"low": {"dataset": "low", "epochs": 1, "precision": "tf32"}}
    assert "recipe.precision tf32" in obstacles(study_of({}, ALL, sources=source), home)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    study, said = study_of({"precision": "bf16"}, {"normalization": ["pretrain"]}), []
    preflight(study, study.cells, home, device="cpu", say=said.append)
    assert [line for line in said if "bf16: this CPU has no instructions for it" in line] == said[:1]


def test_published_statistics_must_exist(home: Home) -> None:
    """Digits have none; the error says which datasets do."""
    assert "high" in obstacles(study_of({"statistics": "published"}, ALL), home)


def test_a_last_batch_of_one_is_found_before_the_epoch_that_ends_in_it(home: Home) -> None:
    """65 images in batches of 32 leave one, which BatchNorm at 1 x 1 cannot train on; another size is proposed."""
    text = obstacles(study_of({"limit_train": 65, "batch_size": 32}, ALL), home)
    assert "the last batch of an epoch would hold one image" in text
    assert "another batch_size, for one 33" in text
    head = study_of({"limit_train": 65, "batch_size": 32, "tune": "head"}, ALL)
    preflight(head, head.cells, home, device="cpu")  # a frozen BatchNorm does not mind


def test_images_too_small_for_the_model_are_refused(home: Home) -> None:
    """A network that cannot take the images says so here, not in an hour."""
    study = study_of({"model": "inception_v3"}, ALL)
    text = obstacles(study, home)
    assert "inception_v3 cannot take the 32 x 32 images of dataset high" in text
    assert "datasets.high.image_size" in text


def test_colour_images_on_a_one_channel_source_are_refused(home: Home, tmp_path: Path) -> None:
    """The cure is to store them as grayscale."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    study = study_of(
        {"dataset": "photos", "batch_size": 4},
        ALL,
        datasets={
            "low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 32},
            "photos": {"kind": "folder", "path": str(tmp_path / "photos")},
        },
    )
    text = obstacles(study, home)
    assert "dataset photos has 3 channels, source low takes 1" in text
    assert "datasets.photos.channels: 1" in text


def test_a_damaged_dataset_is_found_before_the_start(home: Home) -> None:
    """One changed byte in a packed file, of the same length, is caught by its checksum."""
    study = study_of({}, ALL)
    preflight(study, study.cells, home, device="cpu")
    packed = next((home.data / "packed").glob("high-*/train_images.npy"))
    data = bytearray(packed.read_bytes())
    data[-1] ^= 1
    packed.chmod(0o644)
    packed.write_bytes(bytes(data))
    assert "train_images.npy" in obstacles(study, home)


def test_too_little_disk_is_said_before(home: Home) -> None:
    """A sweep that would fill the disk does not begin."""
    text = obstacles(study_of({}, ALL), home, disk_bytes=10**18)
    assert "GB free" in text
    assert "--home DIR" in text


def test_an_unknown_model_is_a_wrong_study(home: Home) -> None:
    """A misspelt model is the study's fault on every machine: wrong usage, exit code 2."""
    study = study_of({"model": "resnet81"}, ALL)
    with pytest.raises(UsageError, match="resnet81"):
        preflight(study, study.cells, home, device="cpu")


def test_unknown_weights_are_a_wrong_study(home: Home) -> None:
    """So are weights torchvision does not have."""
    study = study_of({"source": "torchvision", "weights": "IMAGENET9"}, ALL)
    with pytest.raises(UsageError, match="IMAGENET1K_V1"):
        preflight(study, study.cells, home, device="cpu")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the home folder should be is named with the way out."""
    (tmp_path / "file").write_text("in the way")
    home = Home(tmp_path / "file" / "mlruns")
    assert "--home DIR" in obstacles(study_of({}, ALL), home)
