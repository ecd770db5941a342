"""The meter: what the machine does, measured beside a cell and never in its way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

import pytest
import torch

from tracker.study.home import Home
from tracker.sweep.workers import meter as module
from tracker.sweep.workers.meter import OFF_VARIABLE, SAMPLES_A_PACE, Meter, machine_probe
from tracker.tracking.events import Metrics
from tracker.tracking.run import open_run

CPU = torch.device("cpu")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure at once and often."""
    monkeypatch.delenv(OFF_VARIABLE, raising=False)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(module, "SECONDS", 0.001)


def test_cpu_and_memory_are_measured() -> None:
    """Under MLflow's own names, in its units: percent, and megabytes of machine and process."""
    values = machine_probe(CPU)()
    assert set(values) == {
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_usage_percentage",
        "process_memory_usage_megabytes",
    }
    assert 0 < values["system_memory_usage_percentage"] < 100
    assert 10 < values["process_memory_usage_megabytes"] <= values["system_memory_usage_megabytes"]


@pytest.mark.cuda
def test_a_gpu_is_measured() -> None:
    """Use, memory and power of the device that the cell is on, by the number that CUDA gives it."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    held = torch.zeros(256 << 20, dtype=torch.uint8, device="cuda:0")
    values = machine_probe(held.device)()
    assert values["gpu_0_memory_usage_megabytes"] > 256
    assert 0 < values["gpu_0_memory_usage_percentage"] < 100
    assert 0 <= values["gpu_0_utilization_percentage"] <= 100
    assert values["gpu_0_power_usage_watts"] > 0


def test_samples_are_taken_once_and_less_often_with_time() -> None:
    """Each is handed out once; after so many the pause is doubled, so a long cell does not fill the database."""
    enough = threading.Event()
    taken: list[int] = []

    def probe() -> Mapping[str, float]:
        taken.append(1)
        if len(taken) > SAMPLES_A_PACE:
            enough.set()
        return {"x": float(len(taken))}

    with Meter(CPU, probe) as meter:
        assert enough.wait(30)
    samples = meter.take()
    assert [values["x"] for _, values in samples] == list(range(1, len(taken) + 1))
    assert all(moment > 1_600_000_000_000 for moment, _ in samples)
    assert meter.take() == []


def test_what_cannot_be_measured_costs_no_cell(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the probe ends the measuring, with a warning; nothing is raised."""

    def broken() -> Mapping[str, float]:
        raise OSError("no /proc here")

    with caplog.at_level(logging.WARNING), Meter(CPU, broken) as meter:
        assert meter._thread is not None
        meter._thread.join(10)
    assert meter.take() == []
    assert "no /proc here" in caplog.text


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own variable does it."""
    monkeypatch.setenv(OFF_VARIABLE, "false")
    with Meter(CPU) as meter:
        assert meter._thread is None
    assert meter.take() == []


def test_samples_go_through_the_journal_with_the_epoch(home: Home) -> None:
    """While no server answers they are kept like results: after their epoch, with the second they were taken in."""
    run = open_run(NOWHERE, home, "x", "x", "metered")
    began = run._opened_at
    batches = iter([[(began + 1_500, {"cpu": 1.0}), (began + 6_500, {"cpu": 2.0})], []])
    run.sample(lambda: next(batches, []))
    run.log_epoch(0, {"test_acc": 0.5})
    assert [event for event in run._pending if isinstance(event, Metrics)][1:] == [
        Metrics(began + 1_500, 1, {"system/cpu": 1.0}),
        Metrics(began + 6_500, 6, {"system/cpu": 2.0}),
    ]
    run.abandon()


def test_seconds_are_not_taken_for_epochs(home: Home) -> None:
    """A run that goes on knows its last epoch from its journal, whatever else is in there."""
    run = open_run(NOWHERE, home, "x", "x", "metered")
    run.sample(lambda: [(run._opened_at + 90_000, {"cpu": 1.0})])
    run.log_epoch(3, {"test_acc": 0.5})
    run.abandon()
    again = open_run(NOWHERE, home, "x", "x", "metered")
    again.log_metrics({"extra": 1.0})
    (event,) = [event for event in again._pending if isinstance(event, Metrics) and "extra" in event.values]
    assert event.step == 3
    again.abandon()
