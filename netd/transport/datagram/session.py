"""A session: the datagrams of one peer to one target, through a socket of its own, and the answers from there."""

from collections.abc import Hashable
from socket import socket
from typing import Any, Protocol

from netd.admission.control import Ticket
from netd.admission.reply_guard import Allowance
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.datagram.senders import SenderEntry


class Owner(Protocol):
    """The object that keeps a session."""

    @property
    def service_name(self) -> str:
        """The name of the service."""

    def url(self, number: int, /) -> str:
        """The URL of a target."""

    def answers_ready(self, session: "Session", mask: int, /) -> None:
        """Its socket is readable, or broken."""

    def expires_at(self, session: "Session", /) -> tuple[float, Outcome]:
        """When it ends if nothing moves any more, and how."""

    def ended(self, session: "Session", outcome: Outcome, error: BaseException | None = None, /) -> None:
        """It is to end."""


class Session:
    """One session. To commands (`netd connections`, `netd kick`) it is a connection."""

    __slots__ = (
        "_owner",
        "active",
        "address",
        "allowance",
        "bytes_in",
        "bytes_out",
        "control",
        "descriptor",
        "entry",
        "expected",
        "is_proven",
        "key",
        "number",
        "opened",
        "peer",
        "question",
        "silent_since",
        "slot",
        "source",
        "ticket",
        "upstream",
    )

    pid = 0
    is_unseen = False
    unanswered = ""

    def __init__(
        self,
        owner: Owner,
        key: Hashable,
        source: bytes | None,
        entry: SenderEntry,
        peer: Peer,
        destination: tuple[Any, Any],
        upstream: socket,
        number: int,
        ticket: Ticket,
        now: float,
    ) -> None:
        self._owner = owner
        self.key = key
        self.source = source
        self.entry = entry
        """Its peer, and the verdict on it, as of the last question."""
        self.peer = peer
        self.address, self.control = destination
        """Of its answers: the address of the peer, and the control messages (`origin`)."""
        self.upstream = upstream
        """Its socket, connected to the target."""
        self.descriptor = upstream.fileno()
        self.number = number
        """The number of the target."""
        self.ticket = ticket
        self.opened = self.active = now
        self.bytes_in = 0
        self.bytes_out = 0
        self.slot = 0
        self.allowance = Allowance()
        self.question = b""
        """The last one, where the peer is watched for loops."""
        self.expected = 0
        """How many answers may come at once: as many as the last questions, or what the target sends unasked."""
        self.is_proven = False
        """Whether its target is known to receive what it gets."""
        self.silent_since: float | None = None
        """When the first datagram went there since it was opened or an ICMP message came; None: none has gone yet."""

    @property
    def service_name(self) -> str:
        """The name of the service."""
        return self._owner.service_name

    @property
    def target(self) -> str:
        """Its target."""
        return self._owner.url(self.number)

    def ready(self, mask: int) -> None:
        """Its socket is readable, or broken."""
        self._owner.answers_ready(self, mask)

    def expire(self, now: float) -> float | None:
        """End it if nothing has moved for long, or if its time is over."""
        due, outcome = self._owner.expires_at(self)
        if now < due:
            return due
        self.close(outcome)
        return None

    def close(self, outcome: Outcome) -> None:
        """End it."""
        self._owner.ended(self, outcome)

    def fail(self, error: BaseException) -> None:
        """End it, for an exception while it was served, and log that."""
        self._owner.ended(self, "failed", error)

    def leave(self) -> None:
        """No program has it."""
