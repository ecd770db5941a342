"""Every reader gives its dataset's images as they were published, and names what it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100

from tests.vision.raw_files import (
    WNIDS,
    random_images,
    tiny_imagenet_files,
    write_cifar,
    write_folder,
    write_svhn,
    write_tiny_imagenet,
)
from tests.vision.reading import pixels, read
from tracker.study.errors import DataDamaged
from tracker.study.recipe import DATASET_KINDS, DatasetSpec
from tracker.vision.readers import MODULES, reader_of
from tracker.vision.readers.pixels import decode
from tracker.vision.readers.raw import BLOCK, BLOCK_BYTES, block_size, held_out


@given(st.sampled_from([1, 3]), st.integers(1, 5000))
def test_blocks_are_bounded_in_memory(channels: int, side: int) -> None:
    """A block is one image at least, and beyond that never more than 32 MiB."""
    size = block_size((channels, side, side))
    assert 1 <= size <= BLOCK and (size == 1 or size * channels * side * side <= BLOCK_BYTES)


def test_every_kind_has_a_reader() -> None:
    """What a study file may name can be read."""
    assert sorted(MODULES) == sorted(DATASET_KINDS)
    assert len({id(reader_of(kind)) for kind in DATASET_KINDS}) == len(DATASET_KINDS)


@pytest.mark.parametrize(("kind", "dataset", "classes"), [("cifar10", CIFAR10, 10), ("cifar100", CIFAR100, 100)])
def test_cifar(
    kind: str, dataset: type[CIFAR10], classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pickled batches come out in order, channels first, with their class names."""
    train, test = random_images(105, classes), random_images(12, classes, seed=1)
    write_cifar(tmp_path, train, test, monkeypatch, dataset)
    found = read(tmp_path, kind=kind)
    assert np.array_equal(pixels(found.train), train[0]) and np.array_equal(found.train.labels, train[1])
    assert np.array_equal(pixels(found.test), test[0]) and np.array_equal(found.test.labels, test[1])
    assert len(found.classes) == classes and found.classes[9] == "class 9"


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MATLAB files come out image by image, the label 10 as the digit 0."""
    train, test = random_images(600, 10), random_images(7, 10, seed=1)
    write_svhn(tmp_path, train, test, monkeypatch)
    found = read(tmp_path, kind="svhn")
    assert len(train[0]) > BLOCK
    assert np.array_equal(pixels(found.train), train[0]) and np.array_equal(found.train.labels, train[1])
    assert np.array_equal(pixels(found.test), test[0]) and np.array_equal(found.test.labels, test[1])
    assert found.classes == tuple("0123456789")


def test_tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images by sorted wnid, test images by the val folder's annotations, all in RGB, named in words."""
    files = tiny_imagenet_files(train=4, test=5)
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200")
    assert found.classes == ("goldfish", "Egyptian cat", "lemon")
    assert found.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    order = sorted(WNIDS)
    assert found.test.labels.tolist() == [order.index(WNIDS[number % 3]) for number in range(5)]
    images = pixels(found.train)
    first = decode(files[f"train/{order[0]}/images/{order[0]}_0.JPEG"], 3, None)
    assert np.array_equal(images[0], first) and images.shape[1:] == (3, 64, 64)
    gray = [number for number, image in enumerate(images) if (image == image[:1]).all()]
    assert 0 < len(gray) < len(images)  # the archive's few grayscale files


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"wnids.txt": None}, "no item named"),
        ({"val/val_annotations.txt": b"gone.JPEG\tn01443537\t0\t0\t1\t1"}, "gone.JPEG"),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn00000000\t0\t0\t1\t1"}, "n00000000"),
        ({"val/val_annotations.txt": b""}, "names no image"),
        ({"wnids.txt": b"n01443537\nn02124075\nn07749582\nn99999999"}, "1 of 4 classes have no training image"),
        ({"large.bin": bytes(5 << 20)}, "the largest of 5,242,880 bytes"),
    ],
)
def test_a_wrong_tiny_imagenet_archive_is_named(
    change: dict[str, bytes | None], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive of the right name with other contents says what is wrong with it."""
    files = {name: content for name, content in (tiny_imagenet_files() | change).items() if content is not None}
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    with pytest.raises(DataDamaged, match=problem):
        read(tmp_path, kind="tiny-imagenet-200")


def test_a_broken_image_in_the_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is no image, or of another size, is named; the rest of the archive is still looked at."""
    files = tiny_imagenet_files()
    image = files["val/images/val_0.JPEG"]
    files["val/images/val_1.JPEG"] = image[: len(image) // 2]
    small = tmp_path / "small.png"
    write_folder(tmp_path, {"small.png": (8, 8)})
    files["val/images/val_2.JPEG"] = small.read_bytes()
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200")
    with pytest.raises(DataDamaged, match="2 of 5 images") as caught:
        pixels(found.test)
    assert "val_1.JPEG" in caught.value.message and "8x8 pixels, not 64x64" in caught.value.message


def test_digits_are_scaled_to_bytes() -> None:
    """0 stays 0, 16 becomes 255, and every pixel is the nearest byte of its share."""
    found = read(Path(), kind="digits")
    images = np.concatenate([pixels(found.train), pixels(found.test)])
    bunch = load_digits()
    expected = np.round(bunch.images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, images)) == sorted(map(bytes, expected))
    assert images.min() == 0 and images.max() == 255 and images.shape == (1797, 1, 8, 8)


def test_digits_split_is_seeded_and_by_class() -> None:
    """A third of every class is for test; equal seeds give equal splits, others other ones."""
    first, again, other = (read(Path(), kind="digits", split_seed=seed) for seed in (0, 0, 1))
    for split in (first.train, first.test):
        counts = np.bincount(split.labels)
        assert len(counts) == 10 and counts.max() - counts.min() <= 7
    assert len(first.test) == 599 and len(first.train) == 1198
    assert np.array_equal(pixels(first.test), pixels(again.test))
    assert not np.array_equal(pixels(first.test), pixels(other.test))


def test_digits_classes_are_chosen_and_relabelled() -> None:
    """`classes` gives labels their order, and leaves each class's split as it is."""
    whole, part = read(Path(), kind="digits"), read(Path(), kind="digits", classes=(7, 2))
    assert part.classes == ("7", "2") and set(part.train.labels) == {0, 1}
    assert np.array_equal(pixels(part.test)[part.test.labels == 0], pixels(whole.test)[whole.test.labels == 7])
    assert np.array_equal(pixels(part.train)[part.train.labels == 1], pixels(whole.train)[whole.train.labels == 2])


def test_digits_resized() -> None:
    """`image_size` is PIL's bilinear, `channels: 3` repeats the gray."""
    plain, large = read(Path(), kind="digits"), read(Path(), kind="digits", image_size=32, channels=3)
    image = Image.fromarray(pixels(plain.test)[5][0]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels(large.test)[5], np.stack([np.asarray(image)] * 3))


@pytest.mark.parametrize("spec", [{}, {"classes": (5, 6, 7, 8, 9)}, {"test_fraction": 0.01, "image_size": 16}])
def test_facts_of_digits_hold(spec: dict[str, object]) -> None:
    """What is said of the digits before they are read is what reading gives."""
    checked = DatasetSpec(kind="digits", **spec)  # type: ignore[arg-type]
    facts, found = reader_of("digits").facts(checked), read(Path(), kind="digits", **spec)
    assert facts is not None
    assert (facts.train, facts.test, facts.classes) == (len(found.train), len(found.test), len(found.classes))
    assert facts.shape == found.train.shape


def test_published_datasets_take_size_and_channels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`image_size` and `channels` are never ignored, whatever the kind."""
    write_svhn(tmp_path, random_images(3, 10), random_images(3, 10), monkeypatch)
    found = read(tmp_path, kind="svhn", image_size=16, channels=1)
    assert pixels(found.train).shape == (3, 1, 16, 16)
    write_tiny_imagenet(tmp_path, tiny_imagenet_files(), monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200", image_size=16, channels=1)
    assert pixels(found.train).shape == (12, 1, 16, 16)


@given(st.lists(st.integers(2, 30), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 5))
def test_held_out_share(sizes: list[int], fraction: float, seed: int) -> None:
    """Every class gives its rounded share, and keeps one image on either side, whatever the other classes."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple("abcd"[: len(sizes)])
    test = held_out(labels, fraction, seed, names)
    for label, size in enumerate(sizes):
        held = int(test[labels == label].sum())
        assert 1 <= held <= size - 1 and abs(held - size * fraction) <= 1
        alone = held_out(np.zeros(size, dtype=np.int64), fraction, seed, (names[label],))
        assert np.array_equal(test[labels == label], alone)
