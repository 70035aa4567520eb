"""The UDP reply guard: withholds answers that could harm the owner of a forged source address.

Two services that answer each other never stop (CERT CA-1996-01, CVE-2024-2169), and an answer that is larger than its
question amplifies an attack (TA14-017A). So no answer is sent to a port of a service, and no large one to an unlisted
source.
"""

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from netd.addresses import is_non_unicast
from netd.admission.bans import exemption
from netd.admission.policy import Policy

Objection = Literal["source_port", "source_address", "destination"]

Shorten = Callable[[bytes, int], bytes | None]
"""Shortens an answer to at most this many octets; None if no shorter answer makes sense."""

_SMALL = 64
"""The octets that an answer may have whatever the length of its question."""

_LOWEST_PORT = 1024  # RFC 6335: the ports below are for services, and no client sends from them
# The ports of clients that do not choose one (ip_local_port_range, ip(7)). A host may have others, but that cannot be
# read everywhere (ProcSubset=pid, systemd.exec(5)).
_CLIENT_PORTS = range(32768, 61000)

EXPLANATIONS: dict[Objection, str] = {
    "source_port": "source port below 1024, or a UDP port of this netd: an answer could start an endless loop",
    "source_address": "source address is unspecified, in 0.0.0.0/8 or 240.0.0.0/4, or multicast",
    "destination": "sent to a broadcast or multicast address",
}


class ReplyGuard:
    """The reply guard of one service. It checks each question, then its answer."""

    def __init__(self, policy: Policy) -> None:
        self._on = policy.reply_guard
        self._amplify = exemption(policy.amplify)
        self._loops = Loops()

    def check_question(self, address: bytes, port: int, ours: Set[int], *, non_unicast: bool) -> Objection | None:
        """Return why a datagram from this address and port must not be answered; None: it may be.

        ``ours`` are the ports on which this netd serves UDP; ``non_unicast``: the datagram was sent to a broadcast or
        multicast address.
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

    def watch(self, name: Hashable, port: int, *, is_exempt: bool) -> "Watched | None":
        """How to watch a sender for loops; ``is_exempt``: it has no rate, which would end them. None: not at all."""
        if not is_exempt:
            return Watched(name)
        return Watched(name, is_exempt=True, any_content=port not in _CLIENT_PORTS) if self._on else None

    def check_answer(
        self,
        watched: "Watched | None",
        question: bytes,
        answer: bytes,
        now: float,
        *,
        amplify: bool,
        shorten: Shorten | None,
    ) -> tuple[bytes | None, int]:
        """Return the answer to send, maybe shortened, or None; and how long a run of exchanges it continues (`Loops`).

        Without ``amplify`` (see `amplifies`) an answer has at most the length of its question, or 64 octets.
        """
        if not amplify and len(answer) > len(question) and len(answer) > _SMALL:
            most = max(_SMALL, len(question))
            shorter = shorten(answer, most) if shorten else None
            if shorter is None or len(shorter) > most:
                return None, 0
            answer = shorter
        return answer, self._loops.record_exchange(watched, question, answer, now) if watched else 0

    def explain_question(self, address: bytes, port: int, ours: Set[int]) -> tuple[bool, str]:
        """Whether `check_question` passes a datagram that was sent to a unicast address, and why."""
        if not self._on:
            return True, "off"
        objection = self.check_question(address, port, ours, non_unicast=False)
        return objection is None, EXPLANATIONS[objection] if objection else "answers are sent"

    def explain_answer(self, address: bytes) -> str:
        """How long an answer to this address may be, as text."""
        if not self._on:
            return "reply_guard is off"
        if self.amplifies(address):
            return f"{self._amplify.find(address)} is listed in amplify: answers of any length"
        return f"an answer has at most the length of its question, or {_SMALL} octets"


class Allowance:
    """The answers that may be sent to a forged address, where they are not made from a question here.

    Each question allows one answer, of its length or 64 octets. Several may be under way, so both are added up.
    """

    __slots__ = ("_answers", "_octets")

    def __init__(self) -> None:
        self._answers = 0
        self._octets = 0

    def add(self, questions: int, octets: int) -> None:
        """Questions came with so many octets in all."""
        self._answers += questions
        self._octets += max(octets, _SMALL * questions)

    def take(self, octets: int) -> bool:
        """Take an answer of this length. False: it may not be sent."""
        if not self._answers or octets > self._octets:
            return False
        self._answers -= 1
        self._octets -= octets
        return True


class Watched(NamedTuple):
    """A sender that is watched for loops."""

    name: Hashable
    """Identifies the sender and the socket."""
    is_exempt: bool = False
    """Whether it has no rate, so that a loop would not end by itself."""
    any_content: bool = False
    """Whether a question may differ from the last answer: the services at both ends may choose what they send."""


@dataclass(slots=True)
class _Run:
    """A run of exchanges with one peer, each with the last answer as its question."""

    peer: Hashable = None
    answer: int = 0
    number: int = 0
    when: float = 0.0


class Loops:
    """Counts the exchanges in a row in which a peer sends back the answer it just received.

    A probe also repeats its question. But it sends at intervals, not more than ten times a second for half a minute
    from one port. So a pause of `PAUSE` ends a run. 64 peers are watched at one time; a run in progress keeps its slot.
    """

    MOST = 300
    """Exchanges in a row that make a loop, unless the peer is a client that repeats a question as fast as it can."""
    ENDLESS = 10_000
    """Exchanges in a row after which a new run begins. A loop makes that many in a second or two. It ends when one
    datagram is dropped; a client sends that one again."""
    PAUSE = 0.1
    """The pause between two exchanges that ends a run, in seconds."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}  # most services never have one

    def record_exchange(self, watched: Watched, question: bytes, answer: bytes, now: float) -> int:
        """Record a question and its answer. Return the length of the run that they continue; 0: they begin one."""
        peer = watched.name
        slot = hash(peer) & 63
        run = self._runs.get(slot)
        if run is None:
            run = self._runs[slot] = _Run()
        in_run = now - run.when < self.PAUSE
        if run.peer != peer:
            if in_run and run.number:
                return 0
            run.peer, run.number = peer, 0
        elif in_run and run.number < self.ENDLESS and (watched.any_content or hash(question) == run.answer):
            run.number += 1
        else:
            run.number = 0
        run.answer, run.when = hash(answer), now
        return run.number
