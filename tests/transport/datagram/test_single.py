"""Datagrams one by one: as in a batch, also if a call fails."""

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.endpoints import Endpoint
from netd.transport.datagram.mmsg import SLOTS, Batch, RelayBatch, make_memory
from netd.transport.datagram.origins import address_of, origin
from netd.transport.datagram.single import Datagrams, SingleDatagrams, SingleRelay
from netd.transport.listen import open_listeners

WAYS = pytest.mark.parametrize("make", [Batch, SingleDatagrams])


@pytest.fixture
def opened() -> Any:
    """A socket as netd opens it."""
    [listener] = open_listeners([("test", Endpoint.parse("udp://127.0.0.1:0"))], lambda *skipped: None)
    listener.socket.setblocking(False)
    with listener.socket:
        yield listener.socket


def way(make: type[Any], opened: socket.socket, largest: int = 100) -> Datagrams:
    if make is SingleDatagrams:
        return SingleDatagrams(opened, largest)
    return Batch(opened.fileno(), socket.AF_INET, largest, make_memory())


@WAYS
def test_datagrams_are_received_in_order_with_their_senders_up_to_a_batch(
    make: type[Any], opened: socket.socket
) -> None:
    datagrams = way(make, opened)
    with pytest.raises(BlockingIOError):
        datagrams.receive()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for client in (one, two):
            client.bind(("127.0.0.1", 0))
        sent = [(client, b"%d" % number) for number in range(50) for client in (one, two)]
        for client, data in sent:
            client.sendto(data, opened.getsockname())
        taken: list[tuple[int, bytes]] = []
        keys: dict[object, int] = {}
        while len(taken) < len(sent):
            lengths = datagrams.receive()
            assert len(lengths) <= SLOTS
            for slot, (length, key) in enumerate(zip(lengths, datagrams.keys(len(lengths)), strict=True)):
                who: Any = datagrams.sender(slot)
                assert (who.address, who.local, who.non_unicast) == (b"\x7f\0\0\1", b"\x7f\0\0\1", False)
                taken.append((who.port, datagrams.datagram(slot, length)))
                assert datagrams.has_key(slot)
                assert keys.setdefault(key, who.port) == who.port
        assert taken == [(client.getsockname()[1], data) for client, data in sent]
        assert len(keys) == 2


@WAYS
@given(failing=st.sets(st.integers(0, 5)))
def test_send_stops_before_the_first_datagram_that_fails_and_raises_only_for_that(
    make: type[Any], failing: set[int]
) -> None:
    [listener] = open_listeners([("test", Endpoint.parse("udp://127.0.0.1:0"))], lambda *skipped: None)
    with listener.socket as opened, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        opened.setblocking(False)
        client.settimeout(20)
        client.connect(opened.getsockname())
        datagrams = way(make, opened)
        for number in range(6):
            client.send(b"%d" % number)
        assert len(datagrams.receive()) == 6
        datagrams.reuse_packet_info()
        for slot in range(6):
            datagrams.set_answer(slot, bytes(65_520 if slot in failing else slot))  # more than a datagram can hold
        done, failed = 0, set()
        while done < 6:
            try:
                sent = datagrams.send(done, 6)
            except OSError as error:
                assert error.errno == errno.EMSGSIZE
                failed.add(done)
                done += 1
            else:
                assert sent
                done += sent
        assert failed == failing
        for slot in sorted(set(range(6)) - failing):
            assert client.recv(10) == bytes(slot)


class Failing:
    """A socket: each call runs the next of these functions."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self._calls = iter(calls)

    def recvmsg(self, *arguments: int) -> Any:
        return next(self._calls)()


def test_error_after_datagrams_is_raised_by_the_next_call() -> None:
    def message() -> Any:
        return b"x", [], 0, ("127.0.0.1", 5)

    def refuse() -> None:
        raise ConnectionRefusedError

    def block() -> None:
        raise BlockingIOError

    datagrams = SingleDatagrams(Failing(message, message, refuse, message, block, block, refuse), 10)
    assert datagrams.receive() == [1, 1]
    with pytest.raises(ConnectionRefusedError):
        datagrams.receive()
    assert datagrams.receive() == [1]
    with pytest.raises(BlockingIOError):
        datagrams.receive()
    with pytest.raises(ConnectionRefusedError):
        datagrams.receive()


def udp(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(20)
    return sock


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
def test_answers_go_from_the_socket_of_a_target_to_the_sender(opened: socket.socket, batched: bool) -> None:
    questions = Batch(opened.fileno(), socket.AF_INET, 100, make_memory())
    relay: Any = RelayBatch(questions) if batched else SingleRelay(opened, 100)
    with udp() as client, udp() as target, udp("127.0.0.2") as other, udp() as upstream:
        upstream.connect(target.getsockname())
        upstream.setblocking(False)
        with pytest.raises(BlockingIOError):
            relay.receive(upstream)
        for number, sock in enumerate((client, other, client)):
            sock.sendto(b"question", opened.getsockname())
            assert questions.receive() == [8]
            sender = questions.sender(0)
            sent = [b"%d" % number * length for length in (1, 0, 100, 101)]
            for data in sent:
                target.sendto(data, upstream.getsockname())
            relay.address_to(sender, address_of(sender, socket.AF_INET), origin(sender, socket.AF_INET))
            while sent:
                lengths = relay.receive(upstream)
                assert lengths == [len(data) for data in sent[: len(lengths)]]
                for slot, length in enumerate(lengths):
                    assert relay.datagram(slot, length) == sent.pop(0)
                    assert relay.sender(slot) is sender
                assert relay.send(0, len(lengths)) == len(lengths)
            got = [sock.recvfrom(1000) for _ in range(4)]
            assert [len(data) for data, _ in got] == [1, 0, 100, 101]
            assert {place for _, place in got} == {opened.getsockname()}


def test_slots_of_a_batch_are_passed_on_to_a_connected_socket(opened: socket.socket) -> None:
    questions = Batch(opened.fileno(), socket.AF_INET, 100, make_memory())
    relay = RelayBatch(questions)
    with udp() as client, udp() as target, udp() as upstream:
        upstream.connect(target.getsockname())
        sent = [b"%d" % number * (number % 3) for number in range(SLOTS)]
        for data in sent:
            client.sendto(data, opened.getsockname())
        number = len(questions.receive())
        questions.reflect(number)
        assert relay.pass_on(upstream.fileno(), 2, number - 1) == number - 3
        assert [target.recvfrom(100) for _ in range(number - 3)] == [
            (data, upstream.getsockname()) for data in sent[2 : number - 1]
        ]
        with pytest.raises(OSError, match="Bad file descriptor"):
            relay.pass_on(-1, 0, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            relay.receive(_Closed())


class _Closed:
    def fileno(self) -> int:
        return -1


def test_answers_of_a_batch_leave_the_source_to_the_kernel_where_theirs_is_not_of_this_host(
    opened: socket.socket,
) -> None:
    questions = Batch(opened.fileno(), socket.AF_INET, 100, make_memory())
    relay = RelayBatch(questions)
    with udp() as client, udp() as target, udp() as upstream:
        client.sendto(b"question", opened.getsockname())
        questions.receive()
        upstream.connect(target.getsockname())
        target.sendto(b"answer", upstream.getsockname())
        assert relay.receive(upstream) == [6]
        sender = questions.sender(0)
        sender = sender._replace(local=bytes([192, 0, 2, 1]))
        relay.address_to(sender, None, origin(sender, socket.AF_INET))
        with pytest.raises(OSError, match="unreachable|assign"):
            relay.send(0, 1)
        assert relay.leave_source_to_kernel(0)
        assert not relay.leave_source_to_kernel(0)
        assert relay.send(0, 1) == 1
        assert client.recv(10) == b"answer"
