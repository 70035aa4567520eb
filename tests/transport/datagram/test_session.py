"""A session, as its owner and the commands see it."""

import socket
from typing import Any

from netd.admission.control import Ticket, Verdict
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.datagram.senders import SenderEntry
from netd.transport.datagram.session import Session
from netd.transport.sockaddr import Sender

SENDER = Sender(bytes([192, 0, 2, 7]), 5353, b"", non_unicast=False)


class Owner:
    service_name = "dns"

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.due = 60.0

    def url(self, number: int) -> str:
        return f"target {number}"

    def answers_ready(self, session: Session, mask: int) -> None:
        self.calls.append((session, mask))

    def expires_at(self, session: Session) -> tuple[float, Outcome]:
        return self.due, "idle"

    def ended(self, session: Session, outcome: Outcome, error: BaseException | None = None) -> None:
        self.calls.append((session, outcome, error))


def made(owner: Owner, upstream: socket.socket) -> Session:
    entry = SenderEntry(SENDER, Verdict(None), None, None)
    peer = Peer("udp", "192.0.2.7", 5353)
    return Session(owner, "key", None, entry, peer, (None, []), upstream, 9, Ticket(b""), 1.0)


def test_session_tells_its_owner_when_it_ends_and_how() -> None:
    owner, error = Owner(), MemoryError()
    with socket.socket() as upstream:
        session = made(owner, upstream)
        session.ready(5)
        assert session.expire(59.9) == 60.0
        assert session.expire(60.0) is None
        session.close("kicked")
        session.fail(error)
        session.leave()
        assert owner.calls == [
            (session, 5),
            (session, "idle", None),
            (session, "kicked", None),
            (session, "failed", error),
        ]


def test_session_is_listed_as_a_connection() -> None:
    with socket.socket() as upstream:
        session = made(Owner(), upstream)
        assert (session.service_name, session.target, session.descriptor) == (
            "dns",
            "target 9",
            upstream.fileno(),
        )
        assert (session.opened, session.active, session.pid, session.unanswered) == (1.0, 1.0, 0, "")
