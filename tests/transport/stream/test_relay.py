"""Relays: TCP and UNIX sockets at both ends, in all combinations."""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import CHUNK
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.relay_ends import DATA, Ends, assert_was_reset, fill
from tests.transport.stream.relayed import serving_relayed
from tests.transport.stream.toy_preambles import Xor, xor


@pytest.mark.parametrize("client_first", [True, False])
def test_half_close_is_passed_on_and_the_other_direction_goes_on(ends: Ends, client_first: bool) -> None:
    ends.join()
    first, second = ends.of(client_first)
    first.sendall(b"question")
    first.shutdown(socket.SHUT_WR)
    assert read_all(second) == b"question"
    for _ in range(3):
        second.sendall(b"answer")
        assert read_exactly(first, 6) == b"answer"
    assert ends.events.counters.active == 1
    second.shutdown(socket.SHUT_WR)
    assert read_all(first) == b""
    assert ends.outcome() == "done"
    counted = ends.events.counters.bytes_in, ends.events.counters.bytes_out
    assert counted == ((8, 18) if client_first else (18, 8))


def test_both_ends_finish_at_once(ends: Ends) -> None:
    ends.join()
    with ends.held():
        for end in (ends.client, ends.far):
            end.sendall(b"bye")
            end.shutdown(socket.SHUT_WR)
    assert read_all(ends.client) == read_all(ends.far) == b"bye"
    assert ends.outcome() == "done"


@pytest.mark.parametrize("client_first", [True, False])
def test_pieces_of_all_sizes_arrive_whole(ends: Ends, client_first: bool) -> None:
    ends.join()
    first, second = ends.of(client_first)
    received = bytearray()

    def receive() -> None:
        received.extend(read_all(second))

    reader = threading.Thread(target=receive)
    reader.start()
    sent = 0
    for size in (1, 2, 4095, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 2**20, 1, CHUNK, 7):
        first.sendall(DATA[sent : sent + size])
        sent += size
        ends.server.settle()
    first.shutdown(socket.SHUT_WR)
    reader.join()
    assert received == DATA[:sent]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(("send", "read", "settle", "finish")), st.integers(1, 200_000)))
)
def test_octets_arrive_in_any_order_of_steps_of_both_ends(ends: Ends, steps: list[tuple[bool, str, int]]) -> None:
    ends.join()
    sent = {True: bytearray(), False: bytearray()}
    received = {True: bytearray(), False: bytearray()}
    finished = {True: False, False: False}
    for client_first, step, size in steps:
        end = ends.of(client_first)[0]
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if step == "send" and not finished[client_first]:
                data = DATA[len(sent[client_first]) :][:size]
                sent[client_first] += data[: end.send(data)]
            elif step == "read":
                received[client_first] += end.recv(size)
            elif step == "settle":
                ends.server.settle()
            elif step == "finish" and not finished[client_first]:
                finished[client_first] = True
                end.shutdown(socket.SHUT_WR)
    for client_first in (True, False):
        end, other = ends.of(client_first)
        end.settimeout(20)
        other.settimeout(20)
        if not finished[client_first]:
            end.shutdown(socket.SHUT_WR)
        received[not client_first] += read_all(other)
        assert received[not client_first] == sent[client_first]
    until(lambda: not len(ends.connections))
    ends.server.settle()
    assert set(ends.service.outcomes) == {"done"}


@pytest.mark.slow  # moves 64 MiB
def test_megabytes_are_carried_both_ways_at_once(ends: Ends) -> None:
    ends.join()
    back: dict[socket.socket, bytes] = {}

    def receive(end: socket.socket) -> None:
        back[end] = read_all(end)

    def send(end: socket.socket) -> None:
        for _ in range(4):
            end.sendall(DATA)
        end.shutdown(socket.SHUT_WR)

    both = (ends.client, ends.far)
    threads = [threading.Thread(target=run, args=(end,)) for run in (receive, send) for end in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert back == dict.fromkeys(both, DATA * 4)
    assert ends.outcome() == "done"
    assert (ends.events.counters.bytes_in, ends.events.counters.bytes_out) == (len(DATA) * 4, len(DATA) * 4)


@pytest.mark.slow  # fills all buffers
@pytest.mark.parametrize("client_sends", [True, False])
def test_end_that_does_not_read_stops_the_other_and_nothing_is_lost(ends: Ends, client_sends: bool) -> None:
    relay = ends.join()
    sender, reader = ends.of(client_sends)
    sent = fill(ends, sender)
    assert 0 < max(len(end.pending) for end in (relay._client, relay._upstream)) <= 2**17
    reader.sendall(b"the other direction goes on")
    assert read_exactly(sender, 27) == b"the other direction goes on"
    sender.shutdown(socket.SHUT_WR)
    assert read_all(reader) == (DATA * 8)[:sent]
    reader.shutdown(socket.SHUT_WR)
    assert read_all(sender) == b""
    assert ends.outcome() == "done"


def test_upstream_that_stops_reading_sends_on(server: Server, tmp_path: Path) -> None:
    with serving_relayed():
        ends = Ends(server, "tcp", "unix", tmp_path)
        ends.join()
        ends.far.shutdown(socket.SHUT_RD)
        for number in range(10):
            ends.client.sendall(b"x" * CHUNK)
            ends.far.sendall(b"%d" % number)
            assert read_exactly(ends.client, 1) == b"%d" % number
        ends.client.shutdown(socket.SHUT_WR)
        ends.far.sendall(b"bye")
        ends.far.close()
        assert read_all(ends.client) == b"bye"
        assert ends.outcome() == "done"
        assert ends.events.counters.bytes_in == 10 * CHUNK, "what is discarded is counted"
        ends.close()


@pytest.mark.parametrize("client_last", [True, False])
def test_octets_are_bounded_in_both_directions_together(ends: Ends, client_last: bool) -> None:
    ends.join(bytes=1000)
    ends.client.sendall(b"x" * 500)
    assert read_exactly(ends.far, 500) == b"x" * 500
    ends.far.sendall(b"y" * 500)
    assert read_exactly(ends.client, 500) == b"y" * 500
    assert ends.events.counters.active == 1
    ends.of(client_last)[0].sendall(b"z")
    assert ends.outcome() == "bytes"
    assert_was_reset(ends.far)


@pytest.mark.parametrize("client_first", [True, False])
@pytest.mark.parametrize("before", [b"", b"a" * 4 * CHUNK])
def test_urgent_data_is_passed_on_in_its_place(
    server: Server, tmp_path: Path, client_first: bool, before: bytes
) -> None:
    with serving_relayed():
        ends = Ends(server, "tcp", "tcp", tmp_path)
        ends.join()
        first, second = ends.of(client_first)
        for _ in range(3):
            first.sendall(before)
            assert read_exactly(second, len(before)) == before
            first.send(b"!", socket.MSG_OOB)
            assert read_exactly(second, 1) == b"!"
            first.sendall(b"after")
            assert read_exactly(second, 5) == b"after"
        first.send(b"!", socket.MSG_OOB)
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == b"!"
        second.close()
        assert ends.outcome() == "done"
        ends.close()


def idle(ends: Ends) -> None:
    """Both ends wait for each other."""


def half_closed(ends: Ends) -> None:
    ends.client.shutdown(socket.SHUT_WR)
    assert read_all(ends.far) == b""


def upstream_finished(ends: Ends) -> None:
    ends.far.shutdown(socket.SHUT_WR)
    assert read_all(ends.client) == b""


def full(ends: Ends) -> None:
    fill(ends, ends.client)
    fill(ends, ends.far)


def upstream_closed_under_a_full_client(ends: Ends) -> None:
    fill(ends, ends.far)
    ends.far.close()


def client_closed_under_a_full_upstream(ends: Ends) -> None:
    fill(ends, ends.client)
    ends.client.close()


def urgent(ends: Ends) -> None:
    for end in (ends.client, ends.far):
        with contextlib.suppress(OSError):  # UNIX sockets of this kernel may have none
            end.send(b"!", socket.MSG_OOB)


@pytest.mark.parametrize(
    "state",
    [
        idle,
        half_closed,
        upstream_finished,
        full,
        upstream_closed_under_a_full_client,
        client_closed_under_a_full_upstream,
        urgent,
    ],
    ids=lambda state: state.__name__,
)
def test_relay_that_waits_is_not_woken(
    ends: Ends, state: Callable[[Ends], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    ready = RelayConnection._ready

    def counted(relay: RelayConnection, *arguments: Any) -> None:
        next(calls)
        ready(relay, *arguments)

    monkeypatch.setattr(RelayConnection, "_ready", counted)
    ends.join()
    state(ends)

    def is_quiet() -> bool:
        ends.server.settle()
        before = next(calls)
        select.select([], [], [], 0.1)
        ends.server.settle()
        return next(calls) == before + 1

    assert any(is_quiet() for _ in range(20)), "not even once, after the kernel has moved what it can"
    assert len(ends.connections) == 1
    ends.client.close()
    ends.far.close()


@pytest.mark.slow  # megabytes
def test_bulk_from_a_tcp_socket_is_spliced(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    spliced = {"tcp": 0, "unix": 0}
    receive = SplicePipe.receive

    def counted(pipe: SplicePipe, source: socket.socket, sink: socket.socket) -> int:
        number = receive(pipe, source, sink)
        spliced["unix" if source.family == socket.AF_UNIX else "tcp"] += number
        return number

    monkeypatch.setattr(SplicePipe, "receive", counted)
    ends.join()
    for client_first in (True, False):
        first, second = ends.of(client_first)
        sender = threading.Thread(target=first.sendall, args=(DATA,))
        sender.start()
        assert read_exactly(second, len(DATA)) == DATA
        sender.join()
    assert not spliced["unix"], "splice(2) from a UNIX socket is slower than recv(2)"
    assert bool(spliced["tcp"]) == ("tcp" in (ends.near, ends.family))


@pytest.mark.parametrize("size", [5, 2**20])
def test_upstream_may_be_wrapped_and_hold_octets(ends: Ends, size: int) -> None:
    ends.wrap = lambda upstream: Xor(upstream, xor(DATA[:size]))
    ends.join()
    assert read_exactly(ends.client, size) == DATA[:size]
    sender = threading.Thread(target=ends.client.sendall, args=(DATA,))
    sender.start()
    assert xor(read_exactly(ends.far, len(DATA))) == DATA
    sender.join()
    ends.far.sendall(xor(b"answer"))
    assert read_exactly(ends.client, 6) == b"answer"
    ends.far.close()
    assert read_all(ends.client) == b""
