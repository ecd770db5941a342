"""What `tracker doctor` says of backups and of what lies about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.operations.small_home import SmallHome
from tracker.cli.main import cli
from tracker.operations import upkeep
from tracker.operations.backing_up import back_up
from tracker.study.home import Home


def test_a_whole_backup_is_well(small: SmallHome, tmp_path: Path) -> None:
    """Its age and size are told, and how many there are of this home."""
    made = back_up(small.home, tmp_path / "backups").folder
    ((topic, level, message, cure),) = upkeep.backups(small.home, tmp_path / "backups")
    assert (topic, level, cure) == ("backups", "ok", None)
    assert message.startswith(f"{made}: less than a minute old, ")
    assert message.endswith("MiB, whole; 1 backup in all")


def test_a_damaged_backup_is_a_problem(small: SmallHome, tmp_path: Path) -> None:
    """One byte will do; doctor ends with 1 and says what to do."""
    folder = tmp_path / "backups"
    made = back_up(small.home, folder).folder
    (database,) = made.rglob("trials.db")
    content = bytearray(database.read_bytes())
    content[len(content) // 2] ^= 1
    database.write_bytes(content)
    done = CliRunner().invoke(cli, ["doctor", "--home", str(small.home.root), "--backups", str(folder)])
    assert done.exit_code == 1
    assert "PROBLEM  backups" in done.stdout and "another content" in done.stdout
    assert f"cure: tracker backup {folder}" in done.stdout


def test_a_backup_of_another_home_is_none(small: SmallHome, tmp_path: Path) -> None:
    """A folder that many homes share has nothing for one that was never copied there."""
    back_up(small.home, tmp_path / "backups")
    other = Home(tmp_path / "other")
    ((_, level, message, cure),) = upkeep.backups(other, tmp_path / "backups")
    assert (level, message) == ("problem", f"no backup of {other.root} in {tmp_path / 'backups'}")
    assert cure == f"tracker backup {tmp_path / 'backups'}"


@pytest.mark.parametrize("changed", [True, False])
def test_an_old_backup_is_named_if_the_home_has_changed(
    small: SmallHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """A home in which nothing happens needs no newer one."""
    monkeypatch.setattr(upkeep, "STALE_SECONDS", -1.0)
    if not changed:
        for path in (small.home.trials_db, small.home.tracking_db):
            os.utime(path, (1, 1))
    back_up(small.home, tmp_path / "backups")
    if changed:
        os.utime(small.home.trials_db, (2**32, 2**32))
    ((_, level, message, _),) = upkeep.backups(small.home, tmp_path / "backups")
    assert level == ("warning" if changed else "ok")
    assert ("has changed since" in message) == changed
