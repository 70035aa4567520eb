"""Sessions over one socket: the effect of each event on the questions, over real sockets."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Echo, Tagged, TextTime
from netd.client.probe.sessions import Datagrams, Stream
from netd.client.probe.targets import Address
from tests.client.probe.listeners import Listener, wait_until
from tests.support.sockets import free_port, read_exactly

SIZE = 64
ECHO = Echo(SIZE, 7)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(10)
        yield opened


@pytest.fixture
def no_receiver() -> Address:
    return socket.AF_INET, ("127.0.0.1", free_port(socket.SOCK_DGRAM))


def address_of(opened: socket.socket) -> Address:
    return opened.family, opened.getsockname()


def ask(session: Datagrams | Stream, listener: Listener) -> bool:
    number = listener.tally.ask()
    if sent := session.ask(number, session.compose(number, listener.due(number))):
        listener.sent.append(number)
    return sent


# Datagrams.


def test_right_answer_is_reported_and_others_are_corrupted(poller: Poller, receiver: socket.socket) -> None:
    listener = Listener()
    session = Datagrams(listener, ECHO, (address_of(receiver),), poller)
    session.open()
    assert listener.opened == [None]
    assert ask(session, listener)
    assert ask(session, listener)
    questions = [receiver.recvfrom(100) for _ in range(2)]
    client = questions[0][1]
    assert [data for data, _ in questions] == [ECHO.question(number, number * 1000) for number in range(2)]
    receiver.sendto(b"hello", client)
    receiver.sendto(ECHO.question(9, 9000), client)  # no such question
    receiver.sendto(ECHO.question(0, 1), client)
    receiver.sendto(questions[1][0], client)
    wait_until(poller, lambda: listener.answers)
    assert listener.answers == [(1, None)]
    assert (listener.tally.corrupted, listener.results) == (3, [Outcome.WAITING, 1])
    session.close()


def test_icmp_error_is_of_the_oldest_outstanding_question(poller: Poller, no_receiver: Address) -> None:
    listener = Listener()
    session = Datagrams(listener, ECHO, (no_receiver,), poller)
    session.open()
    assert ask(session, listener)
    wait_until(poller, lambda: listener.woken)
    assert listener.results == [Outcome.REFUSED]
    assert listener.tally.reasons == {Outcome.REFUSED: "Connection refused"}
    for _ in range(2):  # the second send returns the error of the first one, and is repeated
        assert ask(session, listener)
    assert listener.results == [Outcome.REFUSED, Outcome.REFUSED, Outcome.WAITING]
    session.close()


def test_refused_questions_are_sent_to_the_next_address(
    poller: Poller, receiver: socket.socket, no_receiver: Address
) -> None:
    listener = Listener()
    session = Datagrams(listener, ECHO, (no_receiver, address_of(receiver)), poller)
    session.open()
    for _ in range(3):
        assert ask(session, listener)
    wait_until(poller, lambda: select.select([receiver], [], [], 0)[0])
    received = [receiver.recv(100) for _ in range(3)]
    assert received == [ECHO.question(number, number * 1000) for number in range(3)]
    assert listener.results == [Outcome.WAITING] * 3
    session.close()


def test_missing_unix_socket_is_tried_again_with_each_question(poller: Poller, tmp_path: Path) -> None:
    listener = Listener()
    session = Datagrams(listener, ECHO, ((socket.AF_UNIX, f"{tmp_path}/s"),), poller)
    session.open()
    assert ask(session, listener)
    assert listener.results == [Outcome.UNREACHABLE]
    assert listener.tally.reasons == {Outcome.UNREACHABLE: "No such file or directory"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{tmp_path}/s")
        assert ask(session, listener)
        assert len(receiver.recv(100)) == SIZE
    assert ask(session, listener)
    assert listener.results[2] == Outcome.REFUSED
    (tmp_path / "s").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{tmp_path}/s")
        assert ask(session, listener)
        assert receiver.recv(100, socket.MSG_DONTWAIT) == ECHO.question(3, 3000)
    session.close()


def test_full_queue_delays_a_question_until_the_receiver_reads(poller: Poller, tmp_path: Path) -> None:
    listener = Listener()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{tmp_path}/s")
        session = Datagrams(listener, ECHO, (address_of(receiver),), poller)
        session.open()
        while ask(session, listener):
            assert listener.tally.asked < 10_000
        poller.wait(0)
        assert listener.woken == 0
        while select.select([receiver], [], [], 0)[0]:
            receiver.recv(100)
        wait_until(poller, lambda: listener.woken)
        assert ask(session, listener)
        session.close()


# Streams.


class Connected:
    """A session that is open, and the other end of its connection."""

    def __init__(self, poller: Poller, stream_server: socket.socket, question: Tagged = ECHO) -> None:
        self.poller = poller
        self.listener = Listener()
        self.session = Stream(self.listener, question, (address_of(stream_server),), poller)
        self.session.open()
        wait_until(poller, lambda: self.listener.opened)
        self.peer, _ = stream_server.accept()
        self.peer.settimeout(10)

    def ask(self, number: int = 1) -> bytes:
        """Send questions; what the other end receives of them."""
        for _ in range(number):
            assert ask(self.session, self.listener)
        return read_exactly(self.peer, number * SIZE)


@pytest.fixture
def connected(poller: Poller, stream_server: socket.socket) -> Iterator[Connected]:
    made = Connected(poller, stream_server)
    yield made
    made.session.close()
    made.peer.close()


def test_answers_are_separated_however_the_stream_is_split(connected: Connected) -> None:
    [took] = connected.listener.opened
    assert took
    questions = connected.ask(3)
    for piece in (questions[:10], questions[10 : SIZE + 10], questions[SIZE + 10 :]):
        connected.peer.sendall(piece)
        connected.poller.wait(0)
    wait_until(connected.poller, lambda: len(connected.listener.answers) == 3)
    assert connected.listener.results == [1, 1, 1]


def test_greeting_is_no_answer_and_the_clock_is_read(poller: Poller, stream_server: socket.socket) -> None:
    question = TextTime(7)
    connected = Connected(poller, stream_server, question)
    assert ask(connected.session, connected.listener)
    connected.peer.sendall(b"netd time; ")
    connected.peer.sendall(b"send a format\r\n" + b"%08x 0 0 1700000000\r\n" % 7)
    wait_until(poller, lambda: connected.listener.answers)
    assert connected.listener.answers == [(0, 1_700_000_000)]
    assert connected.listener.tally.corrupted == 0
    connected.session.close()
    connected.peer.close()


def test_service_that_greets_may_answer_without_a_greeting(poller: Poller, stream_server: socket.socket) -> None:
    connected = Connected(poller, stream_server, TextTime(7))
    assert ask(connected.session, connected.listener)
    connected.peer.sendall(b"%08x 0 0 1700000000\r\n" % 7)
    wait_until(poller, lambda: connected.listener.answers)
    assert connected.listener.answers == [(0, 1_700_000_000)]
    connected.session.close()
    connected.peer.close()


def test_wrong_answer_is_of_its_question_alone(connected: Connected) -> None:
    questions = bytearray(connected.ask(3))
    questions[SIZE + 30] ^= 1
    connected.peer.sendall(questions)
    wait_until(connected.poller, lambda: len(connected.listener.answers) == 2)
    assert connected.listener.results == [1, Outcome.WRONG, 1]
    assert connected.listener.tally.corrupted == 1
    reason = f"expected the {SIZE} octets of the question, got {SIZE} octets: "
    assert connected.listener.tally.reasons[Outcome.WRONG].startswith(reason)


def test_endless_wrong_answer_is_counted_once(connected: Connected) -> None:
    connected.ask(1)
    connected.peer.sendall(b"x" * SIZE * 3)
    wait_until(connected.poller, lambda: connected.listener.woken)
    assert connected.listener.results == [Outcome.WRONG]
    assert connected.listener.tally.corrupted == 1


def test_octets_without_a_question_close_the_connection(connected: Connected) -> None:
    connected.peer.sendall(b"x" * SIZE)
    wait_until(connected.poller, lambda: connected.listener.woken)
    assert connected.listener.tally.corrupted == 1
    assert connected.peer.recv(1) == b""


def test_line_without_an_end_closes_the_connection(poller: Poller, stream_server: socket.socket) -> None:
    connected = Connected(poller, stream_server, TextTime(7))
    assert ask(connected.session, connected.listener)
    connected.peer.sendall(b"x" * 2000)
    wait_until(poller, lambda: connected.listener.woken)
    assert connected.listener.results == [Outcome.WRONG]
    assert connected.listener.tally.corrupted == 1
    connected.session.close()
    connected.peer.close()


@pytest.mark.parametrize("reset", [False, True])
def test_close_loses_all_questions_and_the_next_one_connects_anew(
    connected: Connected, stream_server: socket.socket, reset: bool
) -> None:
    connected.ask(2)
    if reset:
        connected.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connected.peer.close()
    wait_until(connected.poller, lambda: connected.listener.woken)
    assert connected.listener.results == [Outcome.CLOSED] * 2
    number = connected.listener.tally.ask()
    data = connected.session.compose(number, 0)
    assert not connected.session.ask(number, data)
    wait_until(connected.poller, lambda: len(connected.listener.opened) == 2)
    assert connected.session.ask(number, data)
    connected.peer, _ = stream_server.accept()
    assert read_exactly(connected.peer, SIZE) == data


def test_question_that_is_sent_in_part_delays_the_next_one(poller: Poller, stream_server: socket.socket) -> None:
    size = 2**23
    connected = Connected(poller, stream_server, Echo(size, 7))
    assert ask(connected.session, connected.listener)
    assert not ask(connected.session, connected.listener)
    assert connected.listener.sent == [0]
    received = len(connected.peer.recv(2**20))
    while select.select([connected.peer], [], [], 0.01)[0]:
        received += len(connected.peer.recv(2**20))
    assert not ask(connected.session, connected.listener), "there is room, but the first question is not complete"
    while received < size:
        poller.wait(0)
        received += len(connected.peer.recv(2**20))
    wait_until(poller, lambda: connected.listener.woken)
    assert ask(connected.session, connected.listener)
    connected.session.close()
    connected.peer.close()


def test_refused_connection_is_tried_at_the_next_address(
    poller: Poller, stream_server: socket.socket, closed: Address
) -> None:
    listener = Listener()
    session = Stream(listener, ECHO, (closed, address_of(stream_server)), poller)
    session.open()
    wait_until(poller, lambda: listener.opened)
    assert listener.errors == []
    session.close()
    session = Stream(listener, ECHO, (closed, closed), poller)
    session.open()
    wait_until(poller, lambda: listener.errors)
    assert listener.errors == [(Outcome.REFUSED, "Connection refused")]


def test_unix_socket_with_a_full_queue_refuses(poller: Poller, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(f"{tmp_path}/s")
        server.listen(0)
        first.connect(f"{tmp_path}/s")
        listener = Listener()
        Stream(listener, ECHO, (address_of(server),), poller).open()
        assert [outcome for outcome, _ in listener.errors] == [Outcome.REFUSED]


def test_attempt_without_an_answer_is_given_up_after_the_time_out(poller: Poller) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):  # the kernel queues one more than the backlog, and then drops SYNs
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        listener = Listener()
        session = Stream(listener, ECHO, (address_of(full),), poller)
        assert not ask(session, listener)
        attempt = session._socket
        assert attempt
        session.on_timeout(0)
        assert attempt.fileno() >= 0, "the time-out of a question that was due before the attempt"
        listener.timeout = 0
        session.on_timeout(0)
        assert attempt.fileno() == -1
        assert not ask(session, listener)
        assert session._socket is not attempt
        session.close()
