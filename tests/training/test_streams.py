"""Streams: one for each kind of work, none of them in a recorder's hands."""

from __future__ import annotations

from itertools import cycle

import pytest
import torch

from tracker.training import streams
from tracker.training.streams import new_stream, stream_for

FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture(autouse=True)
def _few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out five streams a device in turn, as torch does with its 32."""
    turns = {device: cycle([f"{device} {number}" for number in range(5)]) for device in (FIRST, SECOND)}
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: next(turns[device]))
    monkeypatch.setattr(streams, "_SHARED", {})


def test_a_kind_of_work_has_one_stream_a_device() -> None:
    """However often it is asked for; another kind, and another device, have others."""
    asked = [stream_for(use, device) for _ in range(9) for use in ("images", "copies") for device in (FIRST, SECOND)]
    assert asked == asked[:4] * 9 and len(set(asked)) == 4


def test_what_is_recorded_is_nobody_elses() -> None:
    """torch's streams come round again: a recorder of the fortieth trial is not given the stream of the images."""
    images, copies = stream_for("images", FIRST), stream_for("copies", FIRST)
    given = [new_stream(FIRST) for _ in range(40)]
    assert len(set(given)) == 3 and not {images, copies} & set(given)
    assert new_stream(SECOND) == "cuda:1 0"
