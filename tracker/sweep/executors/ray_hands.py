"""The workers of a sweep on Ray, and those that are kept so that their devices stay unused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tracker.sweep.events import WorkerLeft
from tracker.sweep.executors.ray_cluster import Share
from tracker.sweep.executors.ray_worker import Whereabouts


@dataclass
class Hand:
    """A worker of the sweep, asked for or at work.

    Args:
        reply: to what it was asked last, a reference of Ray's.
        where: None while Ray has no room for it.
    """

    name: str
    actor: Any
    reply: Any
    where: Whereabouts | None = None
    cell_id: str | None = None
    left: WorkerLeft | None = None


class HeldBack:
    """Workers that take no more cells and are not ended: what they have of a device, Ray gives to no other.

    Args:
        per_device: workers a device may have.
    """

    def __init__(self, per_device: int) -> None:
        self._per_device = per_device
        self._hands: list[Hand] = []

    def add(self, hand: Hand) -> None:
        """Hold one more."""
        self._hands.append(hand)

    def free_at(self, place: str) -> int:
        """Return how many workers a device may still have at once."""
        return self._per_device - sum(hand.where is not None and hand.where.place == place for hand in self._hands)

    def hold_all(self, share: Share, total: float) -> bool:
        """Say whether nothing is left of the `total` that the cluster has of the share's resource."""
        return bool(self._hands) and len(self._hands) * share.amount >= total - 1e-6

    def let_go(self, aside: Collection[str]) -> list[Hand]:
        """Give up those whose devices had failed and are not set aside any more; return them."""
        gone = [hand for hand in self._hands if _failed(hand) and _place(hand) not in aside]
        self._hands = [hand for hand in self._hands if hand not in gone]
        return gone

    def clear(self) -> list[Hand]:
        """Give up all; return them."""
        gone, self._hands = self._hands, []
        return gone


def _failed(hand: Hand) -> bool:
    """Say whether its device failed, rather than being too small for it."""
    return hand.left is None or hand.left.why == "device"


def _place(hand: Hand) -> str:
    assert hand.where is not None  # only a worker that was placed is held
    return hand.where.place
