"""Rules of fault injection: nothing happens unless a test asks, and then exactly what it asks for."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.study import faults
from tracker.study.faults import ACTIONS, POINTS, VARIABLE, forget, reach

CHILD = (
    "from tracker.study.faults import reach\nreach('stepped')\nprint('on', flush=True)\nreach('trained')\nprint('end')"
)
"""Reaches two points and says where it has come to."""

DEADLINE = 60
"""Seconds after which a child that does not do what it should is given up."""


@pytest.fixture(autouse=True)
def _from_the_first_time() -> Iterator[None]:
    forget()
    yield
    forget()


def start(fault: str) -> subprocess.Popen[str]:
    """Start CHILD with a fault."""
    environment = os.environ | {VARIABLE: fault}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_happens_unless_asked(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, or with an empty one, every point is passed, and nothing is counted."""
    if value is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, value)
    for point in POINTS:
        reach(point)
    assert not faults._reached


def test_other_points_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault at one point leaves all others alone."""
    monkeypatch.setenv(VARIABLE, "trained=error")
    for point in POINTS:
        if point != "trained":
            reach(point)
    with pytest.raises(RuntimeError, match="a fault injected at trained"):
        reach("trained")


def test_the_nth_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault happens the first time its point is reached or the nth, once; each point is counted by itself."""
    monkeypatch.setenv(VARIABLE, "stepped=error@3,trained=memory,epoch-logged=device@2")
    reach("stepped")
    reach("epoch-logged")
    reach("stepped")
    with pytest.raises(RuntimeError, match="stepped"):
        reach("stepped")
    reach("stepped")
    with pytest.raises(MemoryError, match="trained"):
        reach("trained")
    reach("trained")
    with pytest.raises(RuntimeError, match=r"CUDA error.*epoch-logged"):
        reach("epoch-logged")
    forget()
    with pytest.raises(MemoryError):
        reach("trained")


def test_a_full_disk_is_the_systems_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`disk-full` raises what a write to a full disk does."""
    monkeypatch.setenv(VARIABLE, "state-written=disk-full")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        reach("state-written")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "fault",
    ["stepped", "stepped=", "stepped=kil", "steped=kill", "stepped=error@0", "stepped=error@x", "stepped=error,"],
)
def test_a_misspelt_fault_is_an_error(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that could never happen would let its test pass on nothing."""
    monkeypatch.setenv(VARIABLE, fault)
    with pytest.raises(ValueError, match=f"{VARIABLE}: "):
        reach("claimed")


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("term", signal.SIGTERM)])
def test_a_process_ends_at_the_point(action: str, number: signal.Signals) -> None:
    """`kill` and `term` end a process that does not catch them, between what comes before and after the point."""
    child = start(f"trained={action}")
    out, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, out) == (-number, "on\n"), errors


def test_a_process_stops_at_the_point_and_goes_on() -> None:
    """`stop` holds the process until it is sent SIGCONT."""
    child = start("trained=stop")
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(child.pid, signal.SIGCONT)
        out, errors = child.communicate(timeout=DEADLINE)
    finally:
        if child.returncode is None:
            child.kill()
            child.communicate()
    assert (child.returncode, out) == (0, "on\nend\n"), errors


@pytest.mark.parametrize("action", ["error", "disk-full", "memory", "device"])
def test_what_is_raised_ends_a_process_as_an_exception_does(action: str) -> None:
    """The other actions raise, so whatever the program does about exceptions is done."""
    child = start(f"stepped={action}")
    out, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, out) == (1, "")
    assert "Traceback" in errors


def test_every_action_is_tried_here() -> None:
    """The tests above try every action there is."""
    assert set(ACTIONS) == {"kill", "stop", "term", "error", "disk-full", "memory", "device"}


def test_every_point_is_reached_somewhere() -> None:
    """The package reaches every point that a test can name, and no other."""
    package = Path(tracker.__file__).parent
    found: dict[str, list[str]] = {}
    looked_at = 0
    for path in package.rglob("*.py"):
        if path.name == "faults.py":
            continue
        looked_at += 1
        for point in re.findall(r"\breach\(\s*[\"']([^\"']*)[\"']", path.read_text(encoding="utf-8")):
            found.setdefault(point, []).append(str(path.relative_to(package)))
    assert looked_at > 60
    assert not set(found) - set(POINTS), (
        f"no such point: { {point: found[point] for point in set(found) - set(POINTS)} }"
    )
    assert set(POINTS) == set(found), f"never reached: {', '.join(point for point in POINTS if point not in found)}"
    assert len(set(POINTS)) == len(POINTS)
