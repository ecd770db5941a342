"""Secrets come from files named by NAME_FILE, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.study.errors import UsageError
from tracker.study.secrets import SECRETS, read_secret_files


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("content", ["a secret: word", "a secret: word\n", "a secret: word\r\n"])
def test_a_file_stands_for_the_variable(tmp_path: Path, name: str, content: str) -> None:
    """The content, less the end of its line, becomes the value; the file's variable goes, so children see one only."""
    (tmp_path / "secret").write_text(content, newline="")
    environment = {f"{name}_FILE": str(tmp_path / "secret")}
    read_secret_files(environment)
    assert environment == {name: "a secret: word"}
    read_secret_files(environment)
    assert environment == {name: "a secret: word"}


def test_other_variables_stay_as_they_are() -> None:
    """Only the names of secrets are looked at; an empty variable counts as none."""
    environment = {"AWS_SHARED_CREDENTIALS_FILE": "/x", "PGPASSWORD_FILE": "", "PGPASSWORD": "word"}
    read_secret_files(environment)
    assert environment == {"AWS_SHARED_CREDENTIALS_FILE": "/x", "PGPASSWORD_FILE": "", "PGPASSWORD": "word"}


def test_both_at_once_is_an_error(tmp_path: Path) -> None:
    """Which of two secrets is meant is not guessed; neither is shown."""
    (tmp_path / "secret").write_text("hunter2")
    with pytest.raises(UsageError, match="PGPASSWORD and PGPASSWORD_FILE are both set") as caught:
        read_secret_files({"PGPASSWORD_FILE": str(tmp_path / "secret"), "PGPASSWORD": "hunter3"})
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "not one line"),
        (b"\n", "not one line"),
        (b"two\nlines\n", "not one line"),
        (b"\xff\xfe", "not one line"),
        (b"nul\0byte", "not one line"),
        (b"x" * 70_000, "not one line"),
    ],
)
def test_a_file_that_is_no_secret_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A missing file, an empty one, more than a line: the message has the variable and the path, not the content."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        read_secret_files({"TRACKER_STORAGE_FILE": str(path)})
    assert f"TRACKER_STORAGE_FILE={path}" in str(caught.value)
    assert "lines" not in str(caught.value)


def test_the_command_reads_them_before_anything_else(tmp_path: Path) -> None:
    """`tracker` itself ends with wrong usage where a secret's file is missing."""
    environment = {**os.environ, "MLFLOW_TRACKING_TOKEN_FILE": str(tmp_path / "gone")}
    command = [sys.executable, "-m", "tracker", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"MLFLOW_TRACKING_TOKEN_FILE={tmp_path / 'gone'}: No such file" in done.stderr
