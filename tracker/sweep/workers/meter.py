"""What the machine does while a cell is trained: CPU, memory and GPU, measured now and then by a thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import psutil
import torch

FIRST_SECONDS = 1.0
"""When a cell is first measured, so that one of a few seconds is too."""
SECONDS = 5.0
"""Between two measurements, at first; one takes a few milliseconds."""
SAMPLES_A_PACE = 120
"""So many, and the time between two is doubled: a cell of ten hours has less than a thousand."""
OFF_VARIABLE = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own switch: `false` turns measuring off."""

log = logging.getLogger(__name__)

Probe = Callable[[], Mapping[str, float]]


class Meter:
    """Measures the machine from `__enter__` to `__exit__`; whatever goes wrong with that costs numbers, not a cell.

    Args:
        device: where the cell is trained; a GPU is measured too if NVIDIA's library is there.
        probe: what is measured; None for CPU, memory and the device.
    """

    def __init__(self, device: torch.device, probe: Probe | None = None) -> None:
        self._device = device
        self._probe = probe
        self._samples: list[tuple[int, Mapping[str, float]]] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if os.environ.get(OFF_VARIABLE, "").lower() not in ("false", "0"):
            self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=SECONDS)

    def take(self) -> list[tuple[int, Mapping[str, float]]]:
        """Return what was measured since the last call: milliseconds since 1970, and numbers by MLflow's names."""
        with self._lock:
            taken, self._samples = self._samples, []
        return taken

    def _run(self) -> None:
        try:
            probe = self._probe or machine_probe(self._device)
            pause, taken = FIRST_SECONDS, 0
            while not self._done.wait(pause):
                values = probe()
                with self._lock:
                    self._samples.append((time.time_ns() // 1_000_000, values))
                pause = SECONDS * 2 ** (taken // SAMPLES_A_PACE)
                taken += 1
        except Exception as error:
            log.warning("CPU, memory and GPU are not measured: %s", error)


def machine_probe(device: torch.device) -> Probe:
    """Return a function that measures this machine, this process and the device, under MLflow's names."""
    process = psutil.Process()
    psutil.cpu_percent()  # the first call says 0: later ones measure since the one before
    gpu = _gpu_probe(device)

    def probe() -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "process_memory_usage_megabytes": process.memory_info().rss / 1e6,
            **gpu(),
        }

    return probe


def _gpu_probe(device: torch.device) -> Probe:
    """Return a function that measures a GPU, or gives nothing where there is none or no library for it.

    NVIDIA's library asks the driver and not CUDA: it waits for no kernel and disturbs no capture of a graph.
    """
    if device.type != "cuda":
        return dict
    try:
        import pynvml

        pynvml.nvmlInit()
        index = device.index or 0
        handle = _nvml_handle(pynvml, str(torch.cuda.get_device_properties(index).uuid))
    except Exception as error:  # no library, no driver, a device that it does not know
        log.info("the GPU is not measured: %s", error)
        return dict

    def probe() -> dict[str, float]:
        values: dict[str, float] = {}
        with suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            values[f"gpu_{index}_memory_usage_megabytes"] = memory.used / 1e6
            values[f"gpu_{index}_memory_usage_percentage"] = 100 * memory.used / memory.total
        with suppress(pynvml.NVMLError):  # a slice of a GPU (MIG) does not say
            values[f"gpu_{index}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
        with suppress(pynvml.NVMLError):
            values[f"gpu_{index}_power_usage_watts"] = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        return values

    return probe


def _nvml_handle(pynvml: Any, uuid: str) -> Any:
    """Return NVIDIA's handle of a device: its numbers count all devices, CUDA's only those that are visible."""
    with suppress(pynvml.NVMLError):
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
    return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}".encode())
