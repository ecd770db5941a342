"""Small datasets in each one's own on-disk format, for the real loaders to read."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, SVHN

from tracker.vision.datasets import BUILT_IN
from tracker.vision.readers import cifar, svhn, tiny_imagenet

Images = tuple[np.ndarray, np.ndarray]
"""uint8, (N, C, H, W), and labels."""

DOWNLOADED = [name for name in BUILT_IN if name != "digits"]
CIFARS: dict[str, type[CIFAR10]] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
WNIDS = ("n02124075", "n01443537", "n07749582")
WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n02124075": "Egyptian cat",
    "n07749582": "lemon",
    "n99999999": "not one of them",
}


def random_images(count: int, classes: int, *, size: int = 32, channels: int = 3, seed: int = 0) -> Images:
    """Draw images with all labels in turn."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, channels, size, size), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int64) % classes


def md5(path: Path) -> str:
    """Return a file's MD5 in hex."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_cifar(
    raw: Path, train: Images, test: Images, monkeypatch: pytest.MonkeyPatch, dataset: type[CIFAR10] = CIFAR10
) -> None:
    """Write the batches of CIFAR-10 or CIFAR-100 and make torchvision expect their checksums.

    Writes: the class's base folder below `raw`.
    """
    folder = raw / dataset.base_folder
    folder.mkdir(parents=True)
    key = "fine_labels" if dataset is CIFAR100 else "labels"

    def write(name: str, content: dict[str, object]) -> str:
        # As Python 2 and its numpy wrote the published files: the old module name, flags as numbers.
        new = pickle.dumps(content, protocol=2)
        old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray").replace(b"\x89\x88\x87", b"K\0K\1\x87")
        (folder / name).write_bytes(old)
        return md5(folder / name)

    def batch(images: np.ndarray, labels: np.ndarray) -> dict[str, object]:
        return {"data": images.reshape(len(images), -1), key: labels.tolist(), "batch_label": "a batch"}

    lists = []
    for names, (images, labels) in ((dataset.train_list, train), (dataset.test_list, test)):
        parts = zip(names, np.array_split(images, len(names)), np.array_split(labels, len(names)), strict=True)
        lists.append([[name, write(name, batch(*part))] for (name, _), *part in parts])
    count = 100 if dataset is CIFAR100 else 10
    meta: dict[str, object] = {dataset.meta["key"]: [f"class {number}" for number in range(count)]}
    monkeypatch.setattr(dataset, "train_list", lists[0])
    monkeypatch.setattr(dataset, "test_list", lists[1])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": write(dataset.meta["filename"], meta)})


def pack_cifar(raw: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, dataset: type[CIFAR10] = CIFAR10) -> None:
    """Move what `write_cifar` wrote into its archive, and make torchvision expect that one's checksum."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(raw / dataset.base_folder, dataset.base_folder)
    for path in (raw / dataset.base_folder).iterdir():
        path.unlink()
    (raw / dataset.base_folder).rmdir()
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive))
    monkeypatch.setitem(cifar.ARCHIVE_BYTES, archive.name, archive.stat().st_size)


def write_svhn(raw: Path, train: Images, test: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write SVHN's MATLAB files, where the digit 0 is labelled 10."""
    raw.mkdir(parents=True, exist_ok=True)
    entries = dict(SVHN.split_list)
    for split, (images, labels) in (("train", train), ("test", test)):
        url, name, _ = entries[split]
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]}
        scipy.io.savemat(raw / name, content)
        entries[split] = [url, name, md5(raw / name)]
        monkeypatch.setitem(svhn.FILE_BYTES, name, (raw / name).stat().st_size)
    monkeypatch.setattr(SVHN, "split_list", entries)


def jpeg(pixels: np.ndarray, mode: str = "RGB") -> bytes:
    """Return a JPEG file of uint8 (H, W, 3), or of its first channel for mode L."""
    image = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tiny_imagenet_files(train: int = 4, test: int = 5) -> dict[str, bytes]:
    """Return the archive's entries: `train` images a class, `test` in all, every fourth grayscale."""
    images, _ = random_images(len(WNIDS) * train + test + 1, 1, size=64)
    pictures = [
        jpeg(image.transpose(1, 2, 0), "L" if number % 4 == 3 else "RGB") for number, image in enumerate(images)
    ]
    files = {
        "wnids.txt": "\n".join(WNIDS).encode(),
        "words.txt": "\n".join(f"{wnid}\t{words}" for wnid, words in WORDS.items()).encode(),
        "test/images/test_0.JPEG": pictures.pop(),
    }
    for wnid in WNIDS:
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"no image"
        for number in range(train):
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = pictures.pop()
    annotations = []
    for number in range(test):
        files[f"val/images/val_{number}.JPEG"] = pictures.pop()
        annotations.append(f"val_{number}.JPEG\t{WNIDS[number % len(WNIDS)]}\t0\t0\t62\t62")
    files["val/val_annotations.txt"] = "\n".join(annotations).encode()
    return files


def write_tiny_imagenet(raw: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the archive and make the reader expect its checksum."""
    raw.mkdir(parents=True, exist_ok=True)
    path = raw / tiny_imagenet.ARCHIVE
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{tiny_imagenet.ROOT}/{name}", content)
    monkeypatch.setattr(tiny_imagenet, "MD5", md5(path))
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_BYTES", path.stat().st_size)
    return path


def write_folder(root: Path, files: dict[str, tuple[int, int]], *, mode: str = "RGB", seed: int = 0) -> None:
    """Write one image file a name, of (width, height), with random pixels."""
    generator = np.random.default_rng(seed)
    for name, (width, height) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)


def split_folder(root: Path, *, train: int = 3, test: int = 2, size: int = 8, classes: str = "ab") -> None:
    """Write `train/CLASS/N.png` and `test/CLASS/N.png`."""
    names = {
        f"{split}/{label}/{number}.png": (size, size)
        for split, count in (("train", train), ("test", test))
        for label in classes
        for number in range(count)
    }
    write_folder(root, names)


def write_raw(kind: str, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a small dataset as its download leaves it."""
    if kind == "svhn":
        write_svhn(raw, random_images(20, 10), random_images(10, 10), monkeypatch)
    elif kind == "tiny-imagenet-200":
        write_tiny_imagenet(raw, tiny_imagenet_files(), monkeypatch)
    else:
        write_cifar(raw, random_images(20, 10), random_images(10, 10), monkeypatch, CIFARS[kind])


def published_files(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return what a mirror of a small dataset holds, by published name.

    Writes: the same below `folder`.
    """
    write_raw(kind, folder, monkeypatch)
    if kind in CIFARS:
        pack_cifar(folder, folder / CIFARS[kind].filename, monkeypatch, CIFARS[kind])
    return {path.name: path.read_bytes() for path in folder.iterdir()}
