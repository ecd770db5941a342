"""A dataset is fetched, or put in place by hand, whole and only once."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10

from tests.vision.file_server import serve
from tests.vision.raw_files import DOWNLOADED, published_files
from tracker.study.errors import DataDamaged, DataError, UsageError
from tracker.study.home import Home
from tracker.vision import fetch
from tracker.vision.datasets import BUILT_IN, describe, fetch_dataset, open_dataset, raw_folder
from tracker.vision.readers import reader_of


@pytest.mark.parametrize("name", DOWNLOADED)
def test_fetch_then_open(name: str, tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched is what is read; a second fetch asks for nothing."""
    files = published_files(name, tmp_path / "mirror", monkeypatch)
    with serve(files) as server:
        fetch_dataset(name, home, mirror=server.address + "/")
        asked = len(server.requests)
        assert asked == len(files)
        fetch_dataset(name, home, mirror=server.address)
        assert len(server.requests) == asked
    assert len(open_dataset(name, BUILT_IN[name], home).train) >= 12


def test_fetch_mends_a_damaged_file(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure of a damaged raw file works: a batch comes out of the archive again, which is not fetched again."""
    files = published_files("cifar10", tmp_path / "mirror", monkeypatch)
    with serve(files) as server:
        fetch_dataset("cifar10", home, mirror=server.address)
        batch = raw_folder("cifar10", home) / CIFAR10.base_folder / "data_batch_3"
        batch.write_bytes(b"damaged")
        fetch_dataset("cifar10", home, mirror=server.address)
        assert len(server.requests) == 1
    open_dataset("cifar10", BUILT_IN["cifar10"], home)


def test_an_archive_put_in_place_by_hand_serves(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, the archive where the error says is enough; a wrong one there is refused."""
    files = published_files("cifar10", tmp_path / "mirror", monkeypatch)
    raw = raw_folder("cifar10", home)
    raw.mkdir(parents=True)
    (raw / CIFAR10.filename).write_bytes(b"not the archive")
    assert describe("cifar10", BUILT_IN["cifar10"], home).state == "raw"
    with pytest.raises(DataDamaged, match="its md5 is not"):
        open_dataset("cifar10", BUILT_IN["cifar10"], home)
    (raw / CIFAR10.filename).write_bytes(files[CIFAR10.filename])
    assert len(open_dataset("cifar10", BUILT_IN["cifar10"], home).train) == 20


def test_fetch_offline_names_address_and_place(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the error names the address and where to put the file by hand."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serve({}) as server:
        closed = server.address
    with pytest.raises(DataError, match=f"{closed}/tiny-imagenet-200.zip: cannot be reached") as caught:
        fetch_dataset("tiny-imagenet-200", home, mirror=closed)
    assert str(raw_folder("tiny-imagenet-200", home) / "tiny-imagenet-200.zip") in str(caught.value.cure)


def test_fetch_knows_its_datasets(home: Home) -> None:
    """A folder of one's own is not downloaded, and the digits need not be."""
    with pytest.raises(UsageError, match="'folder' is not downloaded"):
        fetch_dataset("folder", home)
    fetch_dataset("digits", home)
    assert not home.root.exists()


def test_published_sums_are_torchvisions() -> None:
    """Addresses and checksums are torchvision's own, Tiny ImageNet's apart."""
    (cifar,) = reader_of("cifar10").downloads()
    assert (cifar.url, cifar.digest) == (CIFAR10.url, "c58f30108f718f92721af3b95e74349a")
    assert [wanted.name for wanted in reader_of("svhn").downloads()] == ["train_32x32.mat", "test_32x32.mat"]
    (tiny,) = reader_of("tiny-imagenet-200").downloads()
    assert (tiny.digest, tiny.bytes) == ("90528d7ca1a48142e341f4ef8d21d0de", 248_100_043)
