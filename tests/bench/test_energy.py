"""Energy: counters as Linux has them, and what a piece of work took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tracker.bench import energy
from tracker.bench.energy import find_counter, joules_of

CPU = torch.device("cpu")
RANGE = 262_143_328_850


def zone(powercap: Path, folder: str, name: str, microjoules: int) -> Path:
    """Make a zone as the kernel's powercap tree has it."""
    place = powercap / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    (place / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return place


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, the first with cores and memory of its own; a whole platform; and a package a second time."""
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:0:1", "dram", RANGE - 1_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:2", "psys", 9)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    return tmp_path


def test_packages_and_their_memory_count_once(powercap: Path) -> None:
    """Not the cores, which their package holds, nor the platform, nor the other way to the same package."""
    counter = find_counter(CPU, powercap)
    assert counter is not None and counter.source == "RAPL: package-0, dram, package-1"
    assert counter.joules() == 0
    for place in powercap.iterdir():
        (place / "energy_uj").write_text("7000000")
    # 2 J of package-0, 7 J of package-1, and the memory's counter went over its end: 1 J, and 7 J more.
    assert counter.joules() == pytest.approx(2 + 7 + 8, abs=1e-5)
    assert counter.joules() == pytest.approx(17, abs=1e-5)


def test_what_cannot_be_read_is_not_told(tmp_path: Path, powercap: Path) -> None:
    """No zones, none at all, or one whose counter is no number: no energy, and no error."""
    assert find_counter(CPU, tmp_path / "nothing") is None
    (powercap / "intel-rapl:0" / "energy_uj").write_text("")
    assert find_counter(CPU, powercap) is None
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert find_counter(CPU, powercap) is None


def test_work_is_repeated_until_a_counter_can_tell(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its energy is that of all repetitions, by their number."""
    monkeypatch.setattr(energy, "SECONDS", 0.02)
    counter = find_counter(CPU, powercap)
    assert counter is not None
    done = []

    def work() -> None:
        done.append(1)
        (powercap / "intel-rapl:1" / "energy_uj").write_text(str(3_000_000 * len(done)))

    assert joules_of(counter, work) == pytest.approx(3)
    assert len(done) > 1


@pytest.mark.cuda
def test_a_gpu_tells() -> None:
    """A counter that rises while the GPU works."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda", 0)
    counter = find_counter(device)
    assert counter is not None
    matrix = torch.rand(4096, 4096, device=device)

    def work() -> None:
        (matrix @ matrix).sum().item()

    assert joules_of(counter, work) > 0
