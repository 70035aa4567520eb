"""Answers from the socket of a target to a peer, in batches and one by one, and questions on the way there."""

import socket
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.transport.datagram import relay_batch
from netd.transport.datagram.mmsg import Batch, make_memory
from netd.transport.datagram.origins import address_of, origin
from netd.transport.datagram.relay_batch import RelayBatch
from netd.transport.datagram.single import SingleRelay
from netd.transport.datagram.structures import SLOTS
from netd.transport.listen import open_listeners


@pytest.fixture
def opened() -> Any:
    """A socket as netd opens it."""
    [listener] = open_listeners([("test", Endpoint.parse("udp://127.0.0.1:0"))], lambda *skipped: None)
    listener.socket.setblocking(False)
    with listener.socket:
        yield listener.socket


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


LENGTHS = [
    [64] * SLOTS,
    [64] * 5 + [1],
    [64] * 5 + [65],
    [64] * 5 + [0],
    [0] * 5,
    [64, 64, 1, 64, 64],
    [64, 64],
    [1200] * 54,
    [1200] * 55,
    [1201] * 5,
    [60_000] * 3,
    list(range(SLOTS)),
]


@pytest.mark.parametrize("segments", [True, False], ids=["segments", "no segments"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"{len(lengths)} of {lengths[0]}, {lengths[-1]}")
def test_datagrams_of_any_lengths_arrive_as_they_were_in_both_directions(
    opened: socket.socket, monkeypatch: pytest.MonkeyPatch, lengths: list[int], segments: bool
) -> None:
    if not segments:
        monkeypatch.setattr(relay_batch, "_has_segments", lambda ipv6: False)
    questions = Batch(opened.fileno(), socket.AF_INET, 65535, make_memory())
    relay = RelayBatch(questions)
    with udp() as client, udp() as target, udp() as upstream:
        for sock in (opened, target, upstream, client):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        upstream.connect(target.getsockname())
        sent = [bytes([number]) * length for number, length in enumerate(lengths)]
        for data in sent:
            client.sendto(data, opened.getsockname())
        assert questions.receive() == lengths
        sender = questions.sender(0)
        questions.reflect(len(lengths))
        done = 0
        while done < len(lengths):
            done += relay.pass_on(upstream.fileno(), done, lengths[done:])
        assert [target.recvfrom(65536) for _ in sent] == [(data, upstream.getsockname()) for data in sent]
        for data in sent:
            target.sendto(data[::-1], upstream.getsockname())
        relay.address_to(sender, None, origin(sender, socket.AF_INET))
        got = 0
        while got < len(lengths):
            number = len(relay.receive(upstream))
            assert relay.send(0, number) == number
            got += number
        assert [client.recvfrom(65536) for _ in sent] == [(data[::-1], opened.getsockname()) for data in sent]


def test_some_slots_of_a_batch_are_passed_on(opened: socket.socket) -> None:
    questions = Batch(opened.fileno(), socket.AF_INET, 100, make_memory())
    relay = RelayBatch(questions)
    with udp() as client, udp() as target, udp() as upstream:
        upstream.connect(target.getsockname())
        for number in range(8):
            client.sendto(b"%d" % number, opened.getsockname())
        lengths = questions.receive()
        questions.reflect(8)
        assert relay.pass_on(upstream.fileno(), 2, lengths[2:7]) == 5
        assert [target.recv(100) for _ in range(5)] == [b"%d" % number for number in range(2, 7)]
        for few in (1, 5):
            with pytest.raises(OSError, match="Bad file descriptor"):
                relay.pass_on(-1, 0, lengths[:few])
        with pytest.raises(OSError, match="Bad file descriptor"):
            relay.receive(_Closed())


@pytest.mark.parametrize("number", [1, 10])
def test_refusal_of_an_earlier_datagram_is_an_error(opened: socket.socket, number: int) -> None:
    questions = Batch(opened.fileno(), socket.AF_INET, 100, make_memory())
    relay = RelayBatch(questions)
    with udp() as client, udp() as upstream:
        with udp() as target:
            upstream.connect(target.getsockname())
        client.sendto(b"x", opened.getsockname())
        questions.receive()
        upstream.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            relay.pass_on(upstream.fileno(), 0, [1] * number)


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
