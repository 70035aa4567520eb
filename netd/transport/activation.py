"""Sockets that were open before this netd started: passed by the service manager, or stored with it.

A socket unit passes sockets by name (`systemd://NAME`). A socket that an earlier netd opened itself and stored with the
manager (FDSTORE=1, sd_notify(3)) is found by its address. Inherited listening sockets are closed at most, never shut
down: they are open elsewhere too.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any, NamedTuple

_MPTCP, _UDPLITE = 262, 136  # linux/in.h
_SERVED = {
    socket.SOCK_STREAM: {0, socket.IPPROTO_TCP, _MPTCP},
    socket.SOCK_DGRAM: {0, socket.IPPROTO_UDP, _UDPLITE},
}  # 0: UNIX

KEPT = "netd-kept-"
"""The prefix of the names under which netd stores its own sockets."""

_IFNAMSIZ = 16  # linux/if.h


@dataclass(frozen=True)
class InheritedSocket:
    """One socket, and the name that the service manager gave with it (FDNAME)."""

    name: str
    socket: socket.socket


class Place(NamedTuple):
    """What a socket is bound to. Two open sockets with equal places would be the same to clients."""

    family: int
    kind: int
    address: Any
    """As the socket module has it. The IPv6 flow label and scope are left out where they are zero."""
    dual: bool = False
    """Whether it is an IPv6 socket that takes IPv4 too (IPV6_V6ONLY off)."""
    device: str = ""
    """The network interface; empty: any."""

    @classmethod
    def at(cls, family: int, kind: int, address: Any, *, dual: bool = False, device: str | None = None) -> "Place":
        """The place of a socket that is bound to this address."""
        if isinstance(address, tuple):
            address = (*address[:2], *(part for part in address[2:] if part))
        return cls(family, kind, address, dual, device or "")

    @classmethod
    def of(cls, opened: socket.socket) -> "Place":
        """The place of an open socket."""
        address, dual, device = opened.getsockname(), False, b""
        if isinstance(address, bytes):
            address = address.decode("utf-8", "surrogateescape")
        if opened.family in (socket.AF_INET, socket.AF_INET6):
            device = opened.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _IFNAMSIZ).rstrip(b"\0")
        if opened.family == socket.AF_INET6:
            dual = not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return cls.at(opened.family, opened.type, address, dual=dual, device=os.fsdecode(device))


class Inherited:
    """The sockets that the service manager passed: those of its units by name, those of an earlier netd by address."""

    def __init__(self, sockets: list[InheritedSocket] | None = None) -> None:
        self._kept: dict[Place, InheritedSocket] = {}
        self._named: dict[str, list[socket.socket]] = {}
        self._claimed: set[str] = set()
        for inherited in sockets or ():
            if inherited.name.startswith(KEPT):
                self._kept[Place.of(inherited.socket)] = inherited
            else:
                self._named.setdefault(inherited.name, []).append(inherited.socket)

    def dup_named(self, name: str) -> list[socket.socket]:
        """Duplicates of all sockets of this name, in the order of the unit. A later call returns them again.

        Raises ValueError if netd cannot serve one of them.
        """
        self._claimed.add(name)
        sockets = self._named.get(name, [])
        for opened in sockets:
            if fault := fault_of(opened):
                raise ValueError(fault)
        return [opened.dup() for opened in sockets]

    def pop_kept(self, place: Place) -> InheritedSocket | None:
        """The stored socket at this place, if there is one. The caller owns it from then on."""
        return self._kept.pop(place, None)

    def put_back(self, kept: InheritedSocket) -> None:
        """Undo `pop_kept` for a socket that the caller cannot use: `pop_unused` returns it."""
        self._kept[Place.of(kept.socket)] = kept

    def unclaimed(self) -> list[InheritedSocket]:
        """The sockets of all names that were never passed to `dup_named`."""
        return [
            InheritedSocket(name, opened)
            for name, sockets in self._named.items()
            if name not in self._claimed
            for opened in sockets
        ]

    def pop_unused(self) -> list[InheritedSocket]:
        """The stored sockets that no endpoint has taken. The caller owns them from then on."""
        left, self._kept = list(self._kept.values()), {}
        return left


def fault_of(opened: socket.socket) -> str:
    """Why netd cannot serve a socket of the service manager (systemd.socket(5)); empty if it can."""
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if opened.family not in families or opened.proto not in _SERVED.get(opened.type, ()):
        kind = ", ".join(str(getattr(one, "name", one)) for one in (opened.family, opened.type))
        return (
            f"the service manager passed a socket of another kind ({kind}, protocol {opened.proto}); "
            "netd serves ListenStream= and ListenDatagram= over TCP, UDP and UNIX"
        )
    try:
        opened.getpeername()
    except OSError:
        if opened.type == socket.SOCK_DGRAM or opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return ""
        return "the service manager passed a stream socket that does not listen"
    if opened.type == socket.SOCK_DGRAM:
        return "the service manager passed a datagram socket that is connected to one peer"
    return "the service manager passed a connection; netd takes the listening socket (Accept=no in its unit)"
