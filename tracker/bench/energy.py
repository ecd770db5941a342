"""What work costs in energy, where the machine tells: NVIDIA's driver of a GPU, or Linux of the processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")
SECONDS = 2.0
"""Work is repeated for at least so long: a driver brings its counter up to date every 20 to 100 ms."""


class EnergyCounter(Protocol):
    """Counts the energy that a device, or all of a processor, has taken."""

    @property
    def source(self) -> str:
        """Whose counter it is, and what it counts."""

    def joules(self) -> float:
        """Return what has been taken since some moment; never less than before."""


class PowercapCounter:
    """Linux's counters of the processors' packages and of their memory: RAPL, of Intel and AMD.

    A counter goes back to zero after some minutes of full power, so it is to be read more often than that.

    Args:
        zones: folders with `energy_uj` and `max_energy_range_uj`.
    """

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in zones]
        self._last = [_number(zone / "energy_uj") for zone in zones]
        self._microjoules = 0
        self.source = "RAPL: " + ", ".join(_name(zone) for zone in zones)

    def joules(self) -> float:
        """Return what all packages have taken since this counter was made, idle time and other processes included."""
        now = [_number(zone / "energy_uj") for zone in self._zones]
        for before, after, most in zip(self._last, now, self._ranges, strict=True):
            self._microjoules += after - before if after >= before else after - before + most
        self._last = now
        return self._microjoules / 1e6


class NvmlCounter:
    """NVIDIA's counter of a whole GPU, since its driver was loaded."""

    source = "NVML: the whole GPU"

    def __init__(self, device: torch.device) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml: Any = pynvml
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
        self.joules()  # a GPU older than Volta, or a slice of one, does not tell

    def joules(self) -> float:
        """Return what the GPU has taken."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000


def find_counter(device: torch.device, powercap: Path = POWERCAP) -> EnergyCounter | None:
    """Return a device's energy counter, or None where there is none that this process may read.

    Args:
        powercap: Linux's folder of zones. Since 2020 they are root's alone to read, unless someone says otherwise.
    """
    if device.type == "cuda":
        try:
            return NvmlCounter(device)
        except Exception:  # no library, no driver, a device that does not tell
            return None
    try:
        zones = _zones(powercap)
        return PowercapCounter(zones) if zones else None
    except (OSError, ValueError):
        return None


def joules_of(counter: EnergyCounter, work: Callable[[], object]) -> float:
    """Return what a piece of work takes, done again and again for a while."""
    times = 0
    before, begun = counter.joules(), time.perf_counter()
    while not times or time.perf_counter() - begun < SECONDS:
        work()
        times += 1
    return (counter.joules() - before) / times


def _zones(powercap: Path) -> list[Path]:
    """Return packages, each with the memory that it does not count; parts of a package and `psys` count twice."""
    found = []
    for package in sorted(powercap.glob("intel-rapl:[0-9]*")):  # on AMD's processors too
        depth = package.name.count(":")
        if (depth == 1 and _name(package).startswith("package")) or (depth == 2 and _name(package) == "dram"):
            found.append(package)
    return found


def _name(zone: Path) -> str:
    return (zone / "name").read_text(encoding="ascii").strip()


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))
