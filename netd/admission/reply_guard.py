"""The UDP reply guard: which datagrams get no answer, so that a forged source can do no harm with one.

Two services that answer each other never stop (CERT CA-1996-01, CVE-2024-2169), and an answer that is larger than its
question makes its sender a weapon (TA14-017A). So nothing goes to where services live, and nothing large to a stranger.
"""

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from typing import Literal

from netd.addresses import is_non_unicast
from netd.admission.bans import exemption
from netd.admission.policy import Policy

Objection = Literal["source_port", "source_address", "destination"]

Shorten = Callable[[bytes, int], bytes | None]
"""Gives an answer in at most so many octets; None where that makes no sense."""

_SMALL = 64
"""Octets that an answer may have to any question."""

_LOWEST_PORT = 1024  # RFC 6335: those below are for services, and no client sends from there

EXPLAINED: dict[Objection, str] = {
    "source_port": "a port below 1024, or one on which this netd serves UDP: a service would answer the answer",
    "source_address": "an address of 0/8, of multicast, of 240/4 or of nobody",
    "destination": "sent to a broadcast or multicast address",
}


class ReplyGuard:
    """The reply guard of one service. It is asked twice: about a question, and about its answer."""

    def __init__(self, policy: Policy) -> None:
        self._on = policy.reply_guard
        self._amplify = exemption(policy.amplify)
        self._loops = Loops()

    def check_question(self, address: bytes, port: int, ours: Set[int], *, non_unicast: bool) -> Objection | None:
        """Why a datagram from this address and port is not to be answered, if so.

        ``ours`` are the ports on which this netd serves UDP; ``non_unicast``: it was sent to a broadcast or multicast
        address.
        """
        if not self._on:
            return None
        if port < _LOWEST_PORT or port in ours:
            return "source_port"
        unspecified = address[0] == 0 if len(address) == 4 else not any(address)
        if unspecified or is_non_unicast(address):
            return "source_address"
        return "destination" if non_unicast else None

    def amplifies(self, address: bytes) -> bool:
        """Whether an answer to this address may be longer than its question."""
        return not self._on or self._amplify.find(address) is not None

    def check_answer(
        self, peer: Hashable, question: bytes, answer: bytes, now: float, *, amplify: bool, shorten: Shorten | None
    ) -> tuple[bytes | None, bool]:
        """What may be sent of an answer, None: nothing; and whether it makes a loop, which is True once for each one.

        ``peer`` tells the two ends of an exchange from others; None: this one cannot be a part of a loop. Without
        ``amplify`` (see `amplifies`) an answer has at most the length of its question, or 64 octets.
        """
        if not amplify and len(answer) > len(question) and len(answer) > _SMALL:
            most = max(_SMALL, len(question))
            shorter = shorten(answer, most) if shorten else None
            if shorter is None or len(shorter) > most:
                return None, False
            answer = shorter
        return answer, peer is not None and self._loops.exchanged(peer, question, answer, now)

    def explain_question(self, address: bytes, port: int, ours: Set[int]) -> tuple[bool, str]:
        """Whether `check_question` lets a datagram that was sent to one address pass, and why."""
        if not self._on:
            return True, "off"
        found = self.check_question(address, port, ours, non_unicast=False)
        return found is None, EXPLAINED[found] if found else "nothing speaks against an answer"

    def explain_answer(self, address: bytes) -> str:
        """How long `check_answer` lets an answer to this address be."""
        if not self._on:
            return "reply_guard is off"
        if self.amplifies(address):
            return f"listed as {self._amplify.find(address)}"
        return f"an answer has the length of its question, or {_SMALL} octets"


@dataclass(slots=True)
class _Run:
    """What one peer has done of late."""

    peer: Hashable = None
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
        self._runs: dict[int, _Run] = {}  # most services never have one

    def exchanged(self, peer: Hashable, question: bytes, answer: bytes, now: float) -> bool:
        """One question got its answer; True when that makes it a loop, once in each run."""
        place = hash(peer) & 63
        run = self._runs.get(place)
        if run is None:
            run = self._runs[place] = _Run()
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
