"""Small files that want to be large: none of them is unpacked further than what is wanted can be."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from tracker.study.errors import DataDamaged
from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import silent
from tracker.vision.readers import tiny_imagenet
from tracker.vision.readers.tiny_imagenet import READERS

SPEC = DatasetSpec(kind="tiny-imagenet-200")
ROOT = "tiny-imagenet-200"


def archive(folder: Path, entries: dict[str, bytes]) -> Path:
    """Write the archive that the reader looks for."""
    path = folder / tiny_imagenet.ARCHIVE
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, content in entries.items():
            file.writestr(entry, content)
    return path


def test_a_zip_bomb(tmp_path: Path) -> None:
    """An entry beyond what any image or list is long is refused before anything of it is unpacked."""
    path = archive(tmp_path, {f"{ROOT}/wnids.txt": bytes(tiny_imagenet.MAX_ENTRY_BYTES + 1)})
    assert path.stat().st_size < tiny_imagenet.MAX_ENTRY_BYTES / 100
    with pytest.raises(DataDamaged, match="the largest of"):
        READERS["tiny-imagenet-200"].read("x", SPEC, tmp_path, silent)


def test_a_zip_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one with more entries than the set has files."""
    monkeypatch.setattr(tiny_imagenet, "MAX_ENTRIES", 10)
    archive(tmp_path, {f"{ROOT}/{number}": b"" for number in range(11)})
    with pytest.raises(DataDamaged, match="has 11 entries"):
        READERS["tiny-imagenet-200"].read("x", SPEC, tmp_path, silent)


def test_a_zip_that_lies(tmp_path: Path) -> None:
    """An entry whose header says less than it unpacks to is damaged: no more is unpacked than was said."""
    path = archive(tmp_path, {f"{ROOT}/wnids.txt": bytes(10_000_000)})
    content = path.read_bytes().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10))
    path.write_bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as lying:
        assert [info.file_size for info in lying.infolist()] == [10]
    with pytest.raises(DataDamaged, match="is not Tiny ImageNet-200"):
        READERS["tiny-imagenet-200"].read("x", SPEC, tmp_path, silent)
