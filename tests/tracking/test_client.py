"""Limits on waiting, and words for errors."""

from __future__ import annotations

import os

import pytest

from tracker.study.errors import TrackingError
from tracker.tracking.client import check_reachable, shown, waiting

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def test_limits_hold_inside_the_block_only_and_may_be_nested() -> None:
    """The inner block's limit counts inside it, the outer's around it, and none afterwards."""
    with waiting(3):
        assert os.environ[TIMEOUT] == "3"
        with pytest.raises(RuntimeError), waiting(120):
            assert os.environ[TIMEOUT] == "120"
            raise RuntimeError
        assert os.environ[TIMEOUT] == "3"
    assert TIMEOUT not in os.environ
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_limit_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says is not overruled."""
    monkeypatch.setenv(TIMEOUT, "7")
    with waiting(3), waiting(120):
        assert os.environ[TIMEOUT] == "7"
    assert os.environ[TIMEOUT] == "7"


def test_passwords_stay_out_of_messages() -> None:
    """An address may carry credentials; a message never does."""
    assert shown("http://me:secret@host:5000/x") == "http://host:5000/x"
    assert shown("http://host:5000") == "http://host:5000"
    with pytest.raises(TrackingError) as caught:
        check_reachable("http://me:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)
