"""The packed form keeps every byte, comes whole or not at all, and shows damage."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tests.vision.raw_files import random_images
from tracker.study.errors import DataDamaged, DataError
from tracker.study.recipe import DatasetSpec
from tracker.vision import packing
from tracker.vision.images import ImageSet
from tracker.vision.packed import ARRAYS, MANIFEST, Manifest, open_packed, read_manifest, verify_packed
from tracker.vision.packing import write_packed
from tracker.vision.readers.raw import RawSet, split_from_arrays

SPEC = DatasetSpec(kind="digits")


def raw_set(images: np.ndarray, labels: np.ndarray, classes: int = 4) -> RawSet:
    """Make a set whose test split is its training split reversed."""
    names = tuple(f"class {label}" for label in range(classes))
    return RawSet(split_from_arrays(images, labels, SPEC), split_from_arrays(images[::-1], labels[::-1], SPEC), names)


def pack(folder: Path, raw: RawSet) -> Manifest:
    """Pack under a fixed name."""
    return write_packed(folder, raw, name="mine", kind="digits", identity={"kind": "digits"})


def reopen(folder: Path) -> ImageSet:
    """Open as another process would."""
    manifest = read_manifest(folder)
    assert manifest is not None
    return open_packed(folder, manifest, name="mine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A packed set of 1,100 images: three blocks."""
    pack(tmp_path / "packed", raw_set(*random_images(1100, 4, size=4)))
    return tmp_path / "packed"


@given(
    nps.arrays(np.uint8, st.tuples(st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)))
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_packed_comes_back(tmp_path: Path, images: np.ndarray) -> None:
    """Images, labels, classes and statistics survive packing, for any shape."""
    labels = np.arange(len(images)) % 4
    manifest = pack(tmp_path / "packed", raw_set(images, labels))
    found = reopen(tmp_path / "packed")
    assert np.array_equal(found.train.images, images) and np.array_equal(found.test.images, images[::-1])
    assert np.array_equal(found.train.labels, labels) and found.train.labels.dtype == np.int64
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")
    np.testing.assert_allclose(found.statistics.mean, images.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    assert verify_packed(tmp_path / "packed") == manifest == read_manifest(tmp_path / "packed")


def test_fingerprint_follows_content_alone(tmp_path: Path) -> None:
    """Equal images in another place have the same fingerprint; one other pixel or label, another."""
    images, labels = random_images(6, 4)
    first = pack(tmp_path / "a", raw_set(images, labels)).fingerprint
    assert pack(tmp_path / "b", raw_set(images, labels)).fingerprint == first
    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    prints = {first, pack(tmp_path / "c", raw_set(other, labels)).fingerprint}
    prints.add(pack(tmp_path / "d", raw_set(images, labels[::-1])).fingerprint)
    assert len(prints) == 3 and all(len(fingerprint) == 16 for fingerprint in prints)


def test_memory_map_never_writes_back(folder: Path) -> None:
    """Images lie on disk, and writing to them changes this process's copy only."""
    found = reopen(folder)
    assert isinstance(found.train.images, np.memmap)
    found.train.images[:] = 0
    verify_packed(folder)


def test_no_folder_is_no_manifest(tmp_path: Path) -> None:
    """A set that is not packed is None, not an error."""
    assert read_manifest(tmp_path / "none") is None


@pytest.mark.parametrize("name", ARRAYS)
def test_a_truncated_file_is_named_with_the_cure(folder: Path, name: str) -> None:
    """A file cut short is found by its size, at once."""
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataDamaged, match="bytes instead of") as caught:
        read_manifest(folder)
    assert str(path) in caught.value.message and f"delete the folder {folder}" in str(caught.value.cure)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """A file that is gone is not passed over."""
    (folder / name).unlink()
    with pytest.raises(DataDamaged, match="is missing"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ARRAYS)
def test_one_flipped_bit_is_found_by_verify(folder: Path, name: str) -> None:
    """A file of the right size with one bit changed differs from its SHA-256."""
    content = bytearray((folder / name).read_bytes())
    content[-8] ^= 1
    (folder / name).write_bytes(content)
    assert read_manifest(folder) is not None
    with pytest.raises(DataDamaged, match="has been altered") as caught:
        verify_packed(folder)
    assert name in caught.value.message


@pytest.mark.parametrize("name", ARRAYS)
def test_another_header_is_found_on_opening(folder: Path, name: str) -> None:
    """A file of the right size that holds another shape or dtype is not opened."""
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"|u1", b"|i1").replace(b"<i8", b"<u8"))
    with pytest.raises(DataDamaged, match="holds"):
        reopen(folder)


def test_a_label_beyond_the_classes_is_found_on_opening(folder: Path) -> None:
    """Labels stay within the classes, or training would fail far from here."""
    path = folder / "test_labels.npy"
    path.write_bytes(path.read_bytes()[:-8] + (99).to_bytes(8, "little"))
    with pytest.raises(DataDamaged, match="beyond the 4 classes"):
        reopen(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b'{"format": 1}', b'{"format": 2}', b"\xff\xfe"])
def test_an_unreadable_manifest_is_damage(folder: Path, content: bytes) -> None:
    """Whatever stands in the manifest's place is named as damaged, never a traceback."""
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(DataDamaged, match=MANIFEST):
        read_manifest(folder)


def test_an_altered_histogram_is_found(folder: Path) -> None:
    """Statistics come from the manifest, so verifying checks its counts too."""
    document = json.loads((folder / MANIFEST).read_text())
    document["train_histogram"][0][7] += 1
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(DataDamaged, match="contradicts itself"):
        verify_packed(folder)


def test_packing_again_replaces_what_is_mapped_elsewhere(folder: Path) -> None:
    """Who has the old images open keeps them; who opens now gets the new."""
    old = reopen(folder)
    kept = old.train.images[:5].copy()
    images, labels = random_images(9, 4, size=6, seed=1)
    pack(folder, raw_set(images, labels))
    assert np.array_equal(reopen(folder).train.images, images)
    assert np.array_equal(old.train.images[:5], kept)
    assert [path.name for path in folder.parent.iterdir()] == ["packed"]


def test_what_a_killed_process_left_is_cleared(folder: Path) -> None:
    """A temporary folder of an earlier attempt goes with the next."""
    shutil.copytree(folder, folder.with_name(".packed.01234567.tmp"))
    pack(folder, raw_set(*random_images(9, 4)))
    assert [path.name for path in folder.parent.iterdir()] == ["packed"]


def test_a_failing_reader_leaves_nothing(tmp_path: Path) -> None:
    """An error in the midst of the images leaves neither a packed folder nor a temporary one."""
    images, labels = random_images(6, 4)

    def blocks() -> Iterator[np.ndarray]:
        yield images[:3]
        raise DataDamaged("the fourth image is broken")

    good = split_from_arrays(images, labels, SPEC)
    broken = type(good)(good.labels, good.shape, blocks)
    with pytest.raises(DataDamaged, match="fourth image"):
        pack(tmp_path / "packed", RawSet(good, broken, ("a", "b", "c", "d")))
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """When the disk gives out, the error names the dataset and the cure, and no half remains."""
    raw = raw_set(*random_images(64, 4))
    with file_size_limit(100_000), pytest.raises(DataError, match="packing mine failed") as caught:
        pack(tmp_path / "packed", raw)
    assert "free some space" in str(caught.value.cure)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing does not begin where the disk has less free than the images take."""
    monkeypatch.setattr(packing, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DataError, match="MB are free"):
        pack(tmp_path / "packed", raw_set(*random_images(6, 4)))


def test_a_split_without_images_is_an_error(tmp_path: Path) -> None:
    """No test images, no dataset."""
    images, labels = random_images(6, 4)
    empty = split_from_arrays(images[:0], labels[:0], SPEC)
    with pytest.raises(DataError, match="no test images"):
        pack(tmp_path / "packed", RawSet(split_from_arrays(images, labels, SPEC), empty, ("a", "b", "c", "d")))
