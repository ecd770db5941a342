"""Whether NVIDIA's Multi-Process Service is there, asked of real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tracker.training import mps


@contextmanager
def listening(path: Path, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """Listen at a path, as the service's daemon does."""
    with socket.socket(socket.AF_UNIX, kind) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        yield daemon


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_daemon_that_listens_is_found_and_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind
) -> None:
    """It sees no connection; the socket it leaves when it stops is nobody's."""
    monkeypatch.setenv(mps.PIPES, str(tmp_path))
    assert not mps.serves(), "nothing is there"
    with listening(tmp_path / "control", kind) as daemon:
        assert mps.serves()
        daemon.settimeout(0)
        with pytest.raises(BlockingIOError):
            daemon.accept()
    assert (tmp_path / "control").exists()
    assert not mps.serves(), "it has stopped"


def test_what_is_no_socket_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, and a path longer than a socket's can be."""
    (tmp_path / "control").write_text("")
    monkeypatch.setenv(mps.PIPES, str(tmp_path))
    assert not mps.serves()
    monkeypatch.setenv(mps.PIPES, str(tmp_path / ("long" * 50)))
    assert not mps.serves()
