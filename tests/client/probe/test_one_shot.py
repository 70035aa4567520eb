"""A socket for each question: the effect of each event on its question, over real sockets."""

import socket
from pathlib import Path

import pytest

from netd.client.probe.one_shot import OneShotSessions
from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Connect, Daytime, Plain, Rfc868
from netd.client.probe.targets import Address
from tests.client.probe.listeners import Listener, wait_until

LINE = b"Tuesday, February 22, 1982 17:37:43-PST\r\n"


class Asked:
    """Sessions to these addresses, and one question."""

    def __init__(
        self,
        poller: Poller,
        question: Plain,
        *addresses: Address,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        limit: int = 9,
    ) -> None:
        self.listener = Listener()
        self.sessions = OneShotSessions(self.listener, question, addresses, poller, kind, limit)
        self.sessions.open()
        assert self.listener.opened == [None], "no connection before the first question"
        assert self.ask()

    def ask(self) -> bool:
        number = self.listener.tally.ask()
        return self.sessions.ask(number, self.sessions.compose(number, 0))

    @property
    def has_result(self) -> bool:
        return not self.listener.tally.is_waiting(0)


def address_of(opened: socket.socket) -> Address:
    return opened.family, opened.getsockname()


@pytest.mark.parametrize(
    ("pieces", "result", "corrupted"),
    [
        ([LINE], 1, 0),
        ([LINE[:9], LINE[9:]], 1, 0),
        ([b"nothing\r\n"], Outcome.WRONG, 1),
        ([], Outcome.CLOSED, 0),
    ],
)
def test_answer_over_a_stream_ends_with_its_close(
    poller: Poller, stream_server: socket.socket, pieces: list[bytes], result: int, corrupted: int
) -> None:
    asked = Asked(poller, Daytime(), address_of(stream_server))
    connection, _ = stream_server.accept()
    with connection:
        for piece in pieces:
            connection.sendall(piece)
            poller.wait(0)
            assert not asked.has_result
    wait_until(poller, lambda: asked.has_result)
    assert (asked.listener.results, asked.listener.tally.corrupted) == ([result], corrupted)
    assert asked.listener.tally.connect.number == 1
    assert asked.sessions.open_sessions == {}


def test_answer_that_is_too_long_has_a_result_before_the_close(poller: Poller, stream_server: socket.socket) -> None:
    asked = Asked(poller, Daytime(), address_of(stream_server))
    connection, _ = stream_server.accept()
    with connection:
        connection.sendall(b"x" * 513)
        wait_until(poller, lambda: asked.has_result)
    assert asked.listener.results == [Outcome.WRONG]


def test_datagram_is_the_whole_answer(poller: Poller) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        asked = Asked(poller, Rfc868(), address_of(server), kind=socket.SOCK_DGRAM)
        data, client = server.recvfrom(9)
        assert data == b""
        server.sendto((2_208_988_800 + 7).to_bytes(4), client)
        wait_until(poller, lambda: asked.has_result)
    [(number, clock)] = asked.listener.answers
    assert clock
    assert (number, clock % 2**32) == (0, 7)
    assert asked.listener.tally.connect.number == 0


def test_connection_is_the_answer(poller: Poller, stream_server: socket.socket) -> None:
    asked = Asked(poller, Connect(), address_of(stream_server))
    wait_until(poller, lambda: asked.has_result)
    assert (asked.listener.results, asked.listener.tally.connect.number) == ([1], 1)
    stream_server.accept()[0].close()


def test_refused_question_is_asked_at_the_next_address(
    poller: Poller, stream_server: socket.socket, closed: Address
) -> None:
    asked = Asked(poller, Connect(), closed, address_of(stream_server))
    wait_until(poller, lambda: asked.has_result)
    assert asked.listener.results == [1]
    asked = Asked(poller, Connect(), closed)
    wait_until(poller, lambda: asked.has_result)
    assert asked.listener.results == [Outcome.REFUSED]
    assert asked.listener.tally.reasons == {Outcome.REFUSED: "Connection refused"}
    assert asked.listener.woken > 0
    assert asked.sessions.open_sessions == {}


def test_address_that_has_answered_is_kept(poller: Poller, stream_server: socket.socket, closed: Address) -> None:
    first = address_of(stream_server)
    asked = Asked(poller, Connect(), first, closed)
    wait_until(poller, lambda: asked.has_result)
    assert asked.sessions.next_address(first) is None
    asked = Asked(poller, Daytime(), first, closed)
    assert asked.sessions.next_address(first) == closed
    assert asked.sessions.next_address(first) == closed, "another question that failed at the first address"
    assert asked.sessions.next_address(closed) is None
    asked.sessions.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_missing_unix_socket_is_unreachable(poller: Poller, tmp_path: Path, kind: socket.SocketKind) -> None:
    asked = Asked(poller, Daytime(), (socket.AF_UNIX, f"{tmp_path}/none"), kind=kind)
    assert asked.listener.results == [Outcome.UNREACHABLE]


def test_unix_socket_with_a_full_queue_refuses(poller: Poller, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(f"{tmp_path}/s")
        server.listen(0)
        first.connect(f"{tmp_path}/s")
        assert Asked(poller, Connect(), address_of(server)).listener.results == [Outcome.REFUSED]


def test_number_of_sockets_is_bounded_and_a_time_out_closes_one(poller: Poller, stream_server: socket.socket) -> None:
    asked = Asked(poller, Daytime(), address_of(stream_server), limit=2)
    assert asked.ask()
    assert not asked.ask()
    assert list(asked.sessions.open_sessions) == [0, 1]
    asked.sessions.on_timeout(0)
    asked.sessions.on_timeout(7)
    assert list(asked.sessions.open_sessions) == [1]
    assert asked.ask()
    assert list(asked.sessions.open_sessions) == [1, 3]
    asked.sessions.close()
    assert asked.sessions.open_sessions == {}
