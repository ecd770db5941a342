"""A download is whole and right, or it is not there; an archive writes where it may, or nowhere."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.vision.file_server import FileServer, serve
from tests.vision.test_packed import file_size_limit
from tracker.study.errors import DataDamaged, DataError, UsageError
from tracker.vision import fetch
from tracker.vision.fetch import ATTEMPTS, Download, download, extract_tar
from tracker.vision.progress import Step

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server with one file, and no waiting between attempts."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serve({"file.bin": CONTENT}) as state:
        yield state


def wanted(server: FileServer, *, size: int | None = len(CONTENT), digits: int = 32) -> Download:
    """Describe the file as published."""
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()[:digits]
    return Download(f"{server.address}/file.bin", "file.bin", "md5", digest, size)


def names(folder: Path) -> set[str]:
    """Return what lies in a folder, locks aside."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_comes_whole_with_its_progress(server: FileServer, tmp_path: Path, size: int | None) -> None:
    """The file has its bytes and its name, nothing else stays, and progress ends at the total."""
    steps: list[Step] = []
    path = download(wanted(server, size=size), tmp_path, progress=steps.append)
    assert path.read_bytes() == CONTENT and names(tmp_path) == {"file.bin"}
    assert steps[0].done == 0 and steps[-1] == Step("download file.bin", len(CONTENT), len(CONTENT), "bytes")


def test_what_is_here_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    """The right file is left alone; a wrong one of its name is replaced."""
    download(wanted(server), tmp_path)
    download(wanted(server), tmp_path)
    assert len(server.requests) == 1
    (tmp_path / "file.bin").write_bytes(b"wrong")
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT


def test_an_interrupted_download_is_continued(server: FileServer, tmp_path: Path) -> None:
    """What came before the break is kept, and only the rest is asked for, connection by connection."""
    server.cut_after = [100_000, 50_000]
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == [("file.bin", None), ("file.bin", "bytes=100000-"), ("file.bin", "bytes=150000-")]


def test_a_later_process_continues(server: FileServer, tmp_path: Path) -> None:
    """When the network stays away, the error says what is kept, and the next run goes on from there."""
    server.cut_after = [100_000, *[0] * ATTEMPTS]
    with pytest.raises(DataError, match=r"100,000 bytes are kept") as caught:
        download(wanted(server), tmp_path)
    assert f"by hand at {tmp_path / 'file.bin'}" in str(caught.value.cure)
    assert names(tmp_path) == {"file.bin.part"}
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("file.bin", "bytes=100000-")


def test_a_server_without_ranges_starts_over(server: FileServer, tmp_path: Path) -> None:
    """A server that answers a range with the whole file gives the whole file."""
    server.ranges = False
    server.cut_after = [100_000]
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(server: FileServer, tmp_path: Path, left: int) -> None:
    """A part file as long as the file is taken as it is; a longer one is thrown away."""
    (tmp_path / "file.bin.part").write_bytes((CONTENT + bytes(5))[:left])
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == (1 if left == len(CONTENT) else 2)


def test_a_wrong_checksum_is_refused(server: FileServer, tmp_path: Path) -> None:
    """Other bytes of the right length never get the file's name, and are not kept."""
    server.files["file.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(DataDamaged, match="what came has md5"):
        download(wanted(server), tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("length", [True, False])
def test_another_size_is_refused(server: FileServer, tmp_path: Path, length: bool) -> None:
    """A file longer than published is not taken in, announced or not."""
    server.files["file.bin"] = CONTENT + b"x"
    server.length = length
    with pytest.raises(DataDamaged, match="300,000"):
        download(wanted(server), tmp_path)
    assert names(tmp_path) == set()


def test_a_checksum_may_be_its_first_digits(server: FileServer, tmp_path: Path) -> None:
    """As torchvision's weights files have them in their names."""
    assert download(wanted(server, digits=8), tmp_path).is_file()


def test_a_server_in_trouble_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    """A passing 503 is no failure."""
    server.statuses = [503, 503]
    assert download(wanted(server), tmp_path).read_bytes() == CONTENT


def test_a_refusal_is_told_at_once(server: FileServer, tmp_path: Path) -> None:
    """A 404 names the address, the answer and where to put the file by hand."""
    server.files.clear()
    with pytest.raises(DataError, match=r"/file.bin: the server answers 404") as caught:
        download(wanted(server), tmp_path)
    assert str(tmp_path / "file.bin") in str(caught.value.cure) and len(server.requests) == 1


def test_no_network_is_told_with_the_way_out(tmp_path: Path) -> None:
    """Where nothing answers, the error names the address and where to put the file by hand."""
    with serve({}) as state:
        closed = state.address
    with pytest.raises(DataError, match=f"{closed}/file.bin: cannot be reached") as caught:
        download(Download(f"{closed}/file.bin", "file.bin", "md5", "0" * 32), tmp_path)
    assert str(tmp_path / "file.bin") in str(caught.value.cure)


def test_a_full_disk_is_not_taken_for_the_network(server: FileServer, tmp_path: Path) -> None:
    """A write that fails is told as such, at once."""
    with file_size_limit(100_000), pytest.raises(DataError, match=r"file.bin.part: cannot be written"):
        download(wanted(server), tmp_path)
    assert len(server.requests) == 1


def test_too_little_space_is_told_before(server: FileServer, tmp_path: Path) -> None:
    """Nothing is asked for that the disk has no room for."""
    with pytest.raises(DataError, match="are free"):
        download(wanted(server, size=1 << 60), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/file.bin"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    """Only http and https are fetched."""
    with pytest.raises(UsageError, match="not an http"):
        download(Download(url, "file.bin", "md5", ""), tmp_path)


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Write an archive of any members, well-behaved or not."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    """Return a link or device member."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_an_archive_is_extracted(tmp_path: Path) -> None:
    """Plain files and folders come out as they are."""
    archive = make_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("folder/file"), b"content")])
    extract_tar(archive, tmp_path / "out")
    assert (tmp_path / "out" / "folder" / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("folder/../../evil"),
        link("evil", "/etc/passwd", tarfile.SYMTYPE),
        link("evil", "inside", tarfile.SYMTYPE),
        link("evil", "../evil", tarfile.LNKTYPE),
        link("evil", "", tarfile.CHRTYPE),
        link("evil", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.type!r} {member.name} {member.linkname}",
)
def test_a_malicious_archive_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    """Nothing is written outside the folder, and neither links nor devices are made."""
    archive = make_tar(tmp_path / "a.tar.gz", [(member, b"")])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataDamaged, match=r"a.tar.gz"):
        extract_tar(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    """A leading slash is taken off, as tar does."""
    target = tmp_path / "elsewhere" / "evil"
    extract_tar(make_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo(str(target)), b"x")]), tmp_path / "out")
    assert not target.exists() and (tmp_path / "out" / str(target)[1:]).exists()


def test_an_archive_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a huge file nor a host of files is unpacked."""
    huge = make_tar(tmp_path / "huge.tar.gz", [(tarfile.TarInfo("zeros"), bytes(10_000))])
    many = make_tar(tmp_path / "many.tar.gz", [(tarfile.TarInfo(str(number)), b"") for number in range(101)])
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 9_999)
    for archive in (huge, many):
        with pytest.raises(DataDamaged, match="unpacks to more than"):
            extract_tar(archive, tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_broken_archive_is_damaged(tmp_path: Path, keep: int) -> None:
    """A truncated archive is named with the cure."""
    archive = make_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("file"), CONTENT)])
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataDamaged, match=r"a.tar.gz: cannot be unpacked"):
        extract_tar(archive, tmp_path / "out")
