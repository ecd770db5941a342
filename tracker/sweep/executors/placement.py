"""Which worker runs where: one process a device, or several, each with its share of the cores."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from tracker.study.errors import DeviceError
from tracker.training import mps


@dataclass(frozen=True)
class Slot:
    """Room for one worker.

    Args:
        device: `cpu` or `cuda:N`.
        number: of the slot on its device, from 0.
    """

    device: str
    number: int

    @property
    def place(self) -> str:
        """The device's name among all machines."""
        return device_place(self.device)


def device_place(device: str) -> str:
    """Return a device's name among all machines: `host/cpu`, `GPU-6f1c...`.

    A GPU goes by its UUID alone: where a scheduler shows a process one GPU only, each of them is
    `cuda:0`, and a container has a host name of its own.
    """
    if not device.startswith("cuda"):
        return f"{socket.gethostname()}/{device}"
    return f"GPU-{torch.cuda.get_device_properties(torch.device(device)).uuid}"


def lay_out(
    device: torch.device, asked: str, workers: int | None, trials_per_device: int = 1, aside: Collection[str] = ()
) -> list[Slot]:
    """Lay workers out over this machine's devices, the devices in turn.

    Args:
        device: the resolved one.
        asked: as on the command line; `cuda:N` means that device alone, `auto` and `cuda` all there are.
        workers: how many; None for `trials_per_device` on each device.
        aside: places of devices that have failed.

    Raises:
        DeviceError: every device has been set aside.
    """
    devices = [str(device)]
    if device.type == "cuda" and ":" not in asked:
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    usable = [name for name in devices if device_place(name) not in aside]
    if not usable:
        raise DeviceError(
            f"{', '.join(map(device_place, devices))}: set aside after failing",
            "see `tracker doctor`; mended devices come back with `tracker retry --device PLACE`",
        )
    count = len(usable) * trials_per_device if workers is None else workers
    return [Slot(usable[index % len(usable)], index // len(usable)) for index in range(count)]


def hint(slots: Sequence[Slot]) -> str | None:
    """Return what would make workers that share a GPU faster, None where there is nothing to say."""
    shared = any(slot.number and slot.device != "cpu" for slot in slots)
    return mps.IN_TURNS if shared and not mps.serves() else None
