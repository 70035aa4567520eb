"""The UDP reply guard: which datagrams get no answer, so that a forged source can do no harm with one.

Two services that answer each other never stop (CERT CA-1996-01, CVE-2024-2169), and an answer that is larger than its
question makes its sender a weapon (TA14-017A). So nothing goes to where services live, and nothing large to a stranger.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from netd.addresses import is_of_many

Objection = Literal["source_port", "source_address", "destination"]

SMALL = 64
"""Octets that an answer may have to any question."""

_LOWEST_PORT = 1024  # RFC 6335: those below are for services, and no client sends from there


def objection(address: bytes, port: int, ours: Set[int], *, to_many: bool) -> Objection | None:
    """Why a datagram from this address and port is not to be answered, if so.

    ``ours`` are the ports on which this netd serves UDP; ``to_many``: it was sent to a broadcast or multicast address.
    """
    if port < _LOWEST_PORT or port in ours:
        return "source_port"
    nobody = address[0] == 0 if len(address) == 4 else not any(address)
    if nobody or is_of_many(address):
        return "source_address"
    return "destination" if to_many else None


EXPLAINED: dict[Objection, str] = {
    "source_port": "a port below 1024, or one on which this netd serves UDP: a service would answer the answer",
    "source_address": "an address of 0/8, of multicast, of 240/4 or of nobody",
    "destination": "sent to a broadcast or multicast address",
}


@dataclass(slots=True)
class _Run:
    """What one peer has done of late."""

    peer: str | bytes = b""
    answer: int = 0
    number: int = 0
    when: float = 0.0


class Loops:
    """Notices a peer that sends back what it was just answered, hundreds of times on end.

    A probe repeats itself too. It differs in that it has a clock of its own: it does not send ten times a second for
    half a minute from one port. So a pause of `PAUSE` ends a run. There is room for 64 peers at one time; one that is
    at it keeps its place.
    """

    MOST = 300
    """Exchanges on end that make a loop."""
    PAUSE = 0.1
    """Seconds between two exchanges that end a run."""

    def __init__(self) -> None:
        self._runs = [_Run() for _ in range(64)]

    def exchanged(self, peer: str | bytes, question: bytes, answer: bytes, now: float) -> bool:
        """One question got its answer; True when that makes it a loop, once in each run."""
        run = self._runs[hash(peer) & 63]
        going_on = now - run.when < self.PAUSE
        if run.peer != peer:
            if going_on and run.number:
                return False
            run.peer, run.number = peer, 0
        elif going_on and hash(question) == run.answer:
            run.number += 1
        else:
            run.number = 0
        run.answer, run.when = hash(answer), now
        return run.number == self.MOST
