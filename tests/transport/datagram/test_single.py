"""Datagrams one by one: as in a batch, also if a call fails."""

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.endpoints import Endpoint
from netd.transport.datagram.mmsg import Batch, make_memory
from netd.transport.datagram.origins import only_address
from netd.transport.datagram.single import Datagrams, OneDatagram, SingleDatagrams, SingleRelay
from netd.transport.datagram.structures import SLOTS
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
    if make is OneDatagram:
        local = only_address(opened)
        assert local
        return OneDatagram(opened, largest, local)
    return Batch(opened.fileno(), socket.AF_INET, largest, make_memory())


@pytest.mark.parametrize("make", [Batch, SingleDatagrams, OneDatagram])
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


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "with control messages"])
def test_answer_is_sent_without_control_messages_where_its_socket_allows_that(
    opened: socket.socket, direct: bool
) -> None:
    relay = SingleRelay(opened, 100, direct=direct)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream,
    ):
        for sock in (client, target, upstream):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(20)
        target.sendto(b"answer", upstream.getsockname())
        assert relay.receive(upstream) == [6]
        assert relay.send_one(client.getsockname()) is direct
        if direct:
            assert client.recvfrom(100) == (b"answer", opened.getsockname())
        # What the kernel refuses (EACCES) is not sent, and `send` says why.
        assert not relay.send_one(("255.255.255.255", 9))
        relay.address_to(None, ("255.255.255.255", 9), [])
        with pytest.raises(PermissionError):
            relay.send(0, 1)
