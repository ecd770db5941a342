"""Whom a server listens to: its address, the names it answers to, the pages that may write to it, its passwords."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tracker.study.errors import UsageError

HOST = "127.0.0.1"

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""What a server on this machine is called by its own programs, and at the near end of an ssh tunnel."""


@dataclass(frozen=True)
class Settings:
    """What `tracker server start` was told, remembered so that a server that is brought back is the same.

    Args:
        host: address to listen on.
        allowed_hosts: names (`Host` headers) it answers to besides its own: NAME, NAME:PORT, *.DOMAIN.
        cors_origins: pages of other servers that may write to it: http(s)://NAME[:PORT].
        team: asks for a user and a password.
    """

    host: str = HOST
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    team: bool = False

    @property
    def reached_at(self) -> str:
        """Where this machine's own programs find it, fit for an address."""
        host = {"0.0.0.0": HOST, "::": "::1"}.get(self.host, self.host)  # noqa: S104 (a wildcard is told, not bound)
        return f"[{host}]" if ":" in host else host

    def check(self) -> None:
        """Refuse what would leave the server open.

        Raises:
            UsageError: an address that others reach without `team`, a name or an origin that means "any".
        """
        for host in self.allowed_hosts:
            if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.*-]*[\w-][\w.*-]*)(:(\d+|\*))?", host):
                raise UsageError(
                    f"--allowed-hosts {host}: not a name this server could have",
                    "accepted: NAME, NAME:PORT or *.DOMAIN; any name at all (*) would let a web page in a browser "
                    "reach the server under a name of its own (DNS rebinding)",
                )
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[^/*\s,@]+", origin):
                raise UsageError(
                    f"--cors-origins {origin}: not the address of one site",
                    "accepted: http(s)://NAME or http(s)://NAME:PORT, without a path; "
                    "any site at all (*) could change and delete every run",
                )
        if not self.team and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} without --team is refused: "
                "whoever reaches this address could read, change and delete every run",
                "add --team, which asks for a user and a password; "
                "or leave --host out and come by `ssh -L 5000:127.0.0.1:PORT THIS-MACHINE`",
            )

    def host_patterns(self) -> list[str]:
        """Return the `Host` headers that MLflow shall accept, in its patterns.

        Its own default also takes 10.* and 192.168.*, which names such as 10.evil.example match.
        """
        return [pattern for name in (*OWN_NAMES, *self._names()) for pattern in _with_any_port(name)]

    def origin_patterns(self) -> list[str]:
        """Return the origins whose pages may write: the server's own, without which its UI cannot, and those given.

        MLflow takes those of this machine by itself.
        """
        own = [pattern for name in self._names() for pattern in _with_any_port(name)]
        return [*(f"{scheme}://{name}" for name in own for scheme in ("http", "https")), *self.cors_origins]

    def _names(self) -> Iterator[str]:
        if not is_loopback(self.host):
            yield socket.gethostname()
            if self.reached_at.strip("[]") == self.host:  # not a wildcard
                yield self.reached_at
        yield from self.allowed_hosts


def is_loopback(host: str) -> bool:
    """Say whether only this machine's programs reach an address.

    Raises:
        UsageError: a name that is not known here.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: not an address of this machine", f"accepted: {HOST}, 0.0.0.0, ...") from error
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _with_any_port(name: str) -> tuple[str, ...]:
    """Return the patterns of a name: as it is, and with any port where it names none."""
    if re.search(r":(\d+|\*)$", name) and not name.endswith("]"):
        return (name.replace("[", "[[]") if "*" in name else name,)
    pattern = name.replace("[", "[[]")  # "[" begins a set of characters
    return (pattern if "*" in name else name, f"{pattern}:*")
