"""A stand-in for a Ray cluster, whose workers do what a test says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tracker.sweep.executors.ray_cluster import Gone, Share
from tracker.sweep.executors.ray_worker import News, Whereabouts
from tracker.sweep.workers.config import WorkerConfig


class Reply:
    """What Ray's reference is: something that can be asked for later, once it is there."""

    def __init__(self, value: object) -> None:
        self.value = value


@dataclass
class Method:
    """An actor's method."""

    call: Callable[..., object]

    def remote(self, *arguments: object) -> Reply:
        """Call it at once."""
        return Reply(self.call(*arguments))


class Actor:
    """A worker that does what the test says, in one go."""

    def __init__(self, place: Whereabouts | None, work: Callable[[WorkerConfig], News]) -> None:
        self._news: News | Gone | None = None
        self._work = work
        self.where = Method(lambda: place)
        self.run = Method(self._run)
        self.hear = Method(lambda: self._news)
        self.stop = Method(lambda: None)

    def _run(self, config: WorkerConfig, _environment: object, _checks: bool) -> None:
        try:
            self._news = self._work(config)
        except Gone as gone:
            self._news = gone


@dataclass
class StandIn:
    """A cluster of one machine.

    Args:
        gpus: by number, how many workers each can have.
    """

    work: Callable[[WorkerConfig], News]
    gpus: int = 1
    per_gpu: int = 1
    address: str = "10.0.0.1"
    alive: dict[Actor, int] = field(default_factory=dict)
    asked: int = 0
    unfit: Collection[str] = ()

    def nodes(self) -> dict[str, dict[str, float]]:
        """One node."""
        return {"node": {"CPU": 8.0, "GPU": float(self.gpus)}}

    def machines(self) -> set[str]:
        """One machine."""
        return {self.address}

    def total(self, resource: str) -> float:
        """All there is."""
        return self.nodes()["node"][resource]

    def room(self, share: Share) -> int:
        """What is left."""
        return self.gpus * self.per_gpu - len(self.alive)

    def threads(self, node: str, share: Share) -> int:
        """One."""
        return 1

    def ask_for(self, share: Share, unfit: Collection[str]) -> Actor:
        """Put a worker on the first GPU with room; without room its place is not known."""
        self.asked += 1
        self.unfit = set(unfit)
        taken = list(self.alive.values())
        free = [gpu for gpu in range(self.gpus) if taken.count(gpu) < self.per_gpu]
        where = Whereabouts("node", self.address, f"host/cuda:{free[0]}", None) if free else None
        actor = Actor(where, self.work)
        if free:
            self.alive[actor] = free[0]
        return actor

    def wait(self, replies: list[Reply], seconds: float) -> list[Reply]:
        """All that are there."""
        return [reply for reply in replies if reply.value is not None]

    def get(self, reply: Reply) -> object:
        """One of them."""
        if isinstance(reply.value, Gone):
            raise reply.value
        return reply.value

    def kill(self, actor: Actor) -> None:
        """Make room."""
        self.alive.pop(actor, None)
