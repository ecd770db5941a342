"""What a restore refuses: damaged backups, manifests by a stranger's or a later program's hand, homes in use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from tracker.cli.main import cli
from tracker.operations.manifest import MANIFEST, _checksum, read_manifest
from tracker.operations.restoring import restore
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.tracking.server.record import Record, hold, write_record


def _flip(folder: Path) -> None:
    path = folder / "home" / "sources" / "abc.safetensors"
    path.write_bytes(b"A source")


def _cut(folder: Path) -> None:
    os.truncate(folder / "home" / "tracking.db", 100_000)


def _lose(folder: Path) -> None:
    (folder / "home" / "sources" / "abc.safetensors").unlink()


def _add(folder: Path) -> None:
    (folder / "home" / "sources" / "abc.safetensors.exe").write_bytes(b"")


def _link(folder: Path) -> None:
    path = folder / "home" / "sources" / "abc.safetensors"
    path.rename(folder.parent / "same-bytes")
    path.symlink_to(folder.parent / "same-bytes")


def _link_folder(folder: Path) -> None:
    path = folder / "home" / "sources"
    path.rename(folder.parent / "same-folder")
    path.symlink_to(folder.parent / "same-folder")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (_flip, "'home/sources/abc.safetensors' has another content"),
    (_cut, "'home/tracking.db' has 100,000 bytes"),
    (_lose, "'home/sources/abc.safetensors' is missing"),
    (_add, "'home/sources/abc.safetensors.exe' is not in the manifest"),
    (_link, "'home/sources/abc.safetensors' is a link"),
    (_link_folder, "'home/sources' is a link"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_backup_is_refused_by_name(
    backup: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """A file that was changed, cut, lost, added or replaced by a link is named, and nothing is written."""
    damage(backup)
    for arguments in (["--verify"], ["--home", str(tmp_path / "new")]):
        done = CliRunner().invoke(cli, ["restore", str(backup), *arguments])
        assert done.exit_code == 1
        assert isinstance(done.exception, TrackerError)
        assert words in str(done.exception)
    assert not (tmp_path / "new").exists()


def forge(backup: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as somebody does who can also give it a checksum."""
    document = json.loads((backup / MANIFEST).read_text())
    del document["checksum"]
    change(document)
    (backup / MANIFEST).write_text(json.dumps({"checksum": _checksum(document), **document}))


HOSTILE_PATHS = [
    "home/../../evil",
    "home/work/../../../evil",
    "/etc/evil",
    "../evil",
    "evil",
    "home",
    "home//evil",
    "home/./evil",
    "home/a\\..\\evil",
    "home/a\0b",
    "home/server/server.json",
    "home/x.lock",
    "databases/evil",
    "home/sources/abc.safetensors",
    "home/sources/abc.safetensors/x",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_leads_out_of_the_backup_is_refused(backup: Path, tmp_path: Path, path: str) -> None:
    """A manifest that was written by hand reaches no file outside, none twice, and none that no backup takes."""
    forge(backup, lambda manifest: manifest["files"].append({"path": path, "size": 0, "sha256": "0" * 64}))
    with pytest.raises(TrackerError, match=r"no path inside|listed twice|both a file and|nothing that|no database"):
        restore(backup, Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("evil"))


NEWER: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda manifest: manifest.update(format=2), "format 2 is newer than this program's 1"),
    (lambda manifest: manifest["versions"].update(tracker="99.0"), "made by tracker 99.0, which is newer"),
    (lambda manifest: manifest["databases"][0].update(schema_version="9999"), "schema 9999 of the ledger is newer"),
    (
        lambda manifest: manifest["databases"][1].update(schema_version="f" * 12),
        "schema f+ of MLflow is newer",
    ),
    (lambda manifest: manifest["versions"].update(tracker="latest"), "'latest' is no version"),
    (lambda manifest: manifest.update(surprise=1), "surprise"),
    (lambda manifest: manifest["files"][0].update(size="12"), "size"),
]


@pytest.mark.parametrize(("change", "words"), NEWER)
def test_a_newer_or_foreign_manifest_is_refused(
    backup: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    """It says what is newer; a program must not guess at what it does not know."""
    forge(backup, change)
    with pytest.raises(TrackerError, match=words):
        restore(backup, Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(backup: Path, content: bytes) -> None:
    """Whatever the file holds, the message names it."""
    (backup / MANIFEST).write_bytes(content)
    with pytest.raises(TrackerError, match=r"manifest\.json: damaged"):
        read_manifest(backup)


def test_a_home_that_is_not_empty_is_left_alone(made_backup: Path, tmp_path: Path) -> None:
    """The message names what is there; --force puts it aside, and loses none of it."""
    home = Home(tmp_path / "mlruns")
    (home.root / "artifacts").mkdir(parents=True)
    (home.root / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty: artifacts, thesis\.tex"):
        restore(made_backup, home)
    assert sorted(path.name for path in home.root.iterdir()) == ["artifacts", "thesis.tex"]
    done = restore(made_backup, home, force=True)
    assert done.put_aside is not None
    assert (done.put_aside / "thesis.tex").read_text() == "mine"
    assert home.trials_db.exists()
    assert not (home.root / "thesis.tex").exists()


def test_a_home_in_use_is_refused(made_backup: Path, tmp_path: Path) -> None:
    """Not even --force takes the files from under a server that runs."""
    home = Home(tmp_path / "mlruns")
    own = psutil.Process()
    write_record(home, Record(own.pid, own.create_time(), 1, "3", True))
    with pytest.raises(UsageError, match=r"server of .* runs"):
        restore(made_backup, home, force=True)


def test_a_home_of_a_server_in_another_container_is_refused(made_backup: Path, tmp_path: Path) -> None:
    """Its pid means nothing here, the kernel's lock on the shared folder does; and nothing once it has ended."""
    home = Home(tmp_path / "mlruns")
    descriptor = hold(home, None)
    assert descriptor is not None
    (home.root / "in the way").write_text("")
    with pytest.raises(UsageError, match="in another container"):
        restore(made_backup, home, force=True)
    os.close(descriptor)
    restore(made_backup, home, force=True)
