"""A Ray cluster: reached, or started on this machine, and what it has room for."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracker.study.errors import PreflightError, TrackerError, UsageError
from tracker.sweep.executors.ray_worker import THREADS, RayWorker

OBJECT_STORE_BYTES = 128 << 20
"""Ray's shared memory on this machine: workers exchange next to nothing, Ray would take 30 % of the memory."""

ANSWER_SECONDS = 10.0

CURE = "is it up (`ray status`), is this machine one of its own, do both have the same RAY_AUTH_MODE?"


class Gone(Exception):
    """A worker does not answer any more."""


@dataclass(frozen=True)
class Share:
    """What one worker takes of a cluster.

    Args:
        resource: the one that decides how many fit: `CPU` or `GPU`.
        amount: of it, a fraction where several workers have one GPU.
        machine: the address of the only machine it may be on, None for any.
    """

    resource: str
    amount: float
    machine: str | None

    def options(self, unfit: Collection[str]) -> dict[str, Any]:
        """Return Ray's options for a worker.

        Args:
            unfit: nodes it must not be on.
        """
        options: dict[str, Any] = {"max_restarts": 0, "max_concurrency": THREADS, "num_cpus": 0}
        options[f"num_{self.resource.lower()}s"] = self.amount
        if self.machine is not None:
            options["resources"] = {f"node:{self.machine}": 0.001}  # every node of the machine has 1 of it
        if unfit:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(unfit))})"}
        return options


class Cluster:
    """The cluster this process is connected to.

    Attributes:
        address: this machine's, as Ray has it.
    """

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._actor = ray.remote(RayWorker)
        self.address: str = ray.util.get_node_ip_address()

    def nodes(self) -> dict[str, dict[str, float]]:
        """Return what each living node has, by the node's id."""
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    def machines(self) -> set[str]:
        """Return the addresses of all machines."""
        return {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}

    def total(self, resource: str) -> float:
        """Return how much of a resource there is."""
        return sum(resources.get(resource, 0.0) for resources in self.nodes().values())

    def room(self, share: Share) -> int:
        """Return how many more workers fit now, as far as Ray has heard."""
        return int(self._ray.available_resources().get(share.resource, 0.0) / share.amount + 1e-6)

    def threads(self, node: str, share: Share) -> int:
        """Return how many CPU threads a worker on a node may use."""
        has = self.nodes().get(node, {})
        if share.resource == "CPU":
            return max(1, int(share.amount))
        return max(1, int(has.get("CPU", 1.0) * share.amount / max(1.0, has.get("GPU", 1.0))))

    def ask_for(self, share: Share, unfit: Collection[str]) -> Any:
        """Return a worker that Ray starts as soon as there is room, which is what lets a cluster grow."""
        return self._actor.options(**share.options(unfit)).remote()

    def wait(self, replies: list[Any], seconds: float) -> list[Any]:
        """Return the replies that are there, waiting for the first of them."""
        if not replies:
            time.sleep(seconds)
            return []
        self._ray.wait(replies, timeout=seconds)
        there: list[Any]
        there, _ = self._ray.wait(replies, num_returns=len(replies), timeout=0)
        return there

    def get(self, reply: Any) -> Any:
        """Return a reply that is there.

        Raises:
            Gone: there will be none; the worker is lost, or cannot be reached.
        """
        try:
            return self._ray.get(reply)
        except self._ray.exceptions.ActorUnavailableError as error:
            raise Gone("its machine does not answer") from error
        except self._ray.exceptions.RayError as error:
            raise Gone((str(error).strip().splitlines() or [type(error).__name__])[-1][:200]) from error

    def kill(self, actor: Any) -> None:
        """End a worker at once, or take back that it was asked for."""
        self._ray.kill(actor)


def require_ray() -> None:
    """Raise unless Ray is installed.

    Raises:
        TrackerError: it is not.
    """
    if find_spec("ray") is None:
        raise TrackerError("the ray executor needs Ray", "pip install 'norm-tracker[ray]'")


def find_share(
    device: str, trials_per_device: int, ledger_url: str, uri: str, *, here: str, machines: Collection[str], gpus: float
) -> Share:
    """Say what a worker takes of a cluster, and where it may be.

    Args:
        device: as asked for; `auto` is a GPU where the cluster has any.
        uri: MLflow's.
        here: this machine's address.
        machines: the addresses of all.
        gpus: how many the cluster has.

    Raises:
        PreflightError: there are other machines, and they do not reach the trial database or MLflow.
    """
    obstacles: list[TrackerError] = []
    if ledger_url.startswith("sqlite"):
        obstacles.append(
            TrackerError(
                "the trial database is a file of this machine, and the cluster has other machines",
                "one that all of them reach: --storage postgresql+psycopg://USER@HOST/DATABASE",
            )
        )
    if _is_loopback(urlsplit(uri).hostname or ""):
        obstacles.append(
            TrackerError(
                f"MLflow's address is {uri}, which is this machine alone, and the cluster has other machines",
                "a server that all of them reach: MLFLOW_TRACKING_URI=http://HOST:PORT",
            )
        )
    if obstacles and set(machines) - {here}:
        raise PreflightError(obstacles)
    machine = here if obstacles else None  # also when others join later
    if device == "cuda" or (device == "auto" and gpus > 0):
        return Share("GPU", 1 / trials_per_device, machine)
    return Share("CPU", 1.0, machine)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connect to a cluster; start one on this machine, for this process alone, where no address is given.

    One started here listens on the loopback address, asks for a token made for it, has no dashboard
    and reports to nobody. Ray's own remarks are left out: it writes them to stdout.

    Args:
        address: `HOST:PORT`, `auto` or `local`; None for the environment's RAY_ADDRESS, else `local`.

    Raises:
        TrackerError: Ray is not installed, or there is no such cluster.
        UsageError: `ray://`, Ray's client, is not supported.
    """
    require_ray()
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in where:
        raise UsageError(
            f"{where}: Ray's client protocol is not supported",
            "run the sweep on a machine of the cluster, with --address auto or HOST:PORT",
        )
    _see_that_it_answers(where)
    # Ray gives its folder to everybody, so it lies in one that is ours; a socket's path has at most 107 characters.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    _set_environment(where == "local")
    import ray

    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            try:
                _init(where, folder)
                yield Cluster()
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _see_that_it_answers(where: str) -> None:
    """Try an address first: Ray asks one where nobody is for many minutes.

    Raises:
        TrackerError: nobody is there.
    """
    host, _, port = where.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise TrackerError(f"Ray cluster {where}: {error}", CURE) from error


def _init(where: str, folder: str) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if where == "local":
        options |= {
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": str(Path(folder) / "ray"),
        }
    main = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=where, **options)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackerError(f"Ray cluster {where}: {message}", CURE) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's ends the process on the spot


def _set_environment(local: bool) -> None:
    """Set what Ray reads when it is imported.

    RAY_AUTH_MODE is always said outright: left out, Ray writes a token into the user's home folder.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CUDA_VISIBLE_DEVICES stays as it is
    if local:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Off Linux Ray keeps to the loopback address; this makes it so here. Told 127.0.0.1 outright, it
        # takes the machine's own address all the same, and listens on all of them.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    elif "RAY_AUTH_MODE" not in os.environ:
        given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
        has_token = bool(given) or (Path.home() / ".ray" / "auth_token").is_file()
        os.environ["RAY_AUTH_MODE"] = "token" if has_token else "disabled"
