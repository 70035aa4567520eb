"""The visitors of sensors that a worker reports: none is lost while the channel is full, and a flood is bounded."""

from netd.admission.bans import MOST
from netd.daemon.messages.from_worker import MOST_VISITORS, Notice, Visitors
from netd.daemon.worker.visitors import WaitingVisitors
from tests.support.server import Server
from tests.support.waiting import until


class Reported:
    """The messages of visitors that were sent. The first ones are refused, as by a full channel."""

    def __init__(self, server: Server, refused: int = 0) -> None:
        self.sent: list[Visitors] = []
        self.refused = refused
        self._server = server
        self._waiting = WaitingVisitors(server.loop, self._send)

    def _send(self, notice: Notice) -> bool:
        assert isinstance(notice, Visitors)
        if self.refused:
            self.refused -= 1
            return False
        self.sent.append(notice)
        return True

    def record(self, *numbers: int) -> None:
        def record() -> None:
            for number in numbers:
                self._waiting.record(bytes([10, *number.to_bytes(3)]), "trap")

        self._server.loop.call(record)

    @property
    def addresses(self) -> list[str]:
        return [one.address for notice in self.sent for one in notice.visitors]


def test_visitors_are_reported_in_few_messages_and_each_once(server: Server) -> None:
    reported = Reported(server)
    reported.record(*range(250), *range(250))
    until(lambda: len(reported.addresses) >= 250)
    assert [len(one.visitors) for one in reported.sent] == [MOST_VISITORS, MOST_VISITORS, 50]
    assert reported.addresses == [f"0a{number:06x}" for number in range(250)]
    assert {one.service for notice in reported.sent for one in notice.visitors} == {"trap"}
    reported.record(7)
    until(lambda: len(reported.addresses) == 251)


def test_visitors_wait_while_the_channel_is_full(server: Server) -> None:
    reported = Reported(server, refused=2)
    reported.record(1, 2)
    until(lambda: not reported.refused)
    reported.record(2, 3)
    until(lambda: len(reported.addresses) >= 3)
    assert reported.addresses == ["0a000001", "0a000002", "0a000003"]


def test_no_more_visitors_wait_than_can_be_banned(server: Server) -> None:
    reported = Reported(server, refused=1)
    reported.record(*range(50_000))
    until(lambda: not reported.refused)
    assert len(reported._waiting._waiting) == MOST
