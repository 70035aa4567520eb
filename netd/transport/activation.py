"""Sockets that were open before this netd started: handed over by the service manager, or kept by it.

A socket unit hands sockets over by name (`systemd://NAME`). What an earlier netd had opened itself and stored with the
manager (FDSTORE=1, sd_notify(3)) is known by its address. Inherited listening sockets are closed at most, never shut
down: they are open elsewhere too.
"""

import socket
from dataclasses import dataclass
from typing import Any

KEPT = "netd-kept-"
"""How the names begin under which netd stores its own sockets."""


@dataclass(frozen=True)
class InheritedSocket:
    """One socket, and the name it came with."""

    name: str
    socket: socket.socket


class Inherited:
    """What is there to take."""

    def __init__(self, sockets: list[InheritedSocket] | None = None) -> None:
        self._kept: dict[object, InheritedSocket] = {}
        self._named: dict[str, list[socket.socket]] = {}
        self._claimed: set[str] = set()
        for inherited in sockets or ():
            if inherited.name.startswith(KEPT):
                self._kept[_place(inherited.socket)] = inherited
            else:
                self._named.setdefault(inherited.name, []).append(inherited.socket)

    def dup_named(self, name: str) -> list[socket.socket]:
        """All that the service manager calls so, in the order of its unit. They can be asked for again."""
        self._claimed.add(name)
        return [opened.dup() for opened in self._named.get(name, [])]

    def pop_kept(self, family: int, kind: int, address: Any, *, dual: bool = False) -> InheritedSocket | None:
        """The socket that is bound there, if there is one; it is the caller's now."""
        return self._kept.pop((family, kind, _plain(address), dual), None)

    def put_back(self, kept: InheritedSocket) -> None:
        """It was of no use to the caller; `pop_unused` has it."""
        self._kept[_place(kept.socket)] = kept

    def unclaimed(self) -> list[InheritedSocket]:
        """What the service manager handed over and nobody has asked for."""
        return [
            InheritedSocket(name, opened)
            for name, sockets in self._named.items()
            if name not in self._claimed
            for opened in sockets
        ]

    def pop_unused(self) -> list[InheritedSocket]:
        """What an earlier netd kept and this one has no use for; the caller's now."""
        left, self._kept = list(self._kept.values()), {}
        return left


def _place(opened: socket.socket) -> object:
    dual = opened.family == socket.AF_INET6 and not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    address = opened.getsockname()
    if isinstance(address, bytes):
        address = address.decode("utf-8", "surrogateescape")
    return (opened.family, opened.type, _plain(address), dual)


def _plain(address: Any) -> object:
    """An address without the parts that are zero where nobody gave them (flow label and scope of IPv6)."""
    if isinstance(address, str):
        return address
    return (*address[:2], *(part for part in address[2:] if part))
