"""Relays: TCP and UNIX sockets at both ends, in all combinations."""

import contextlib
import errno
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.server import StreamServer
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import CHUNK, StreamSocket
from tests.support.server import Server
from tests.support.sockets import most_held, read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, connect, ended
from tests.transport.stream.relayed import Relayed, serving_relayed
from tests.transport.stream.toy_preambles import TRANSFORMED, Xor, xor

DATA = b"".join(struct.pack(">I", number) for number in range(2**21))
"""8 MiB, more than all buffers hold, in which every piece is another one."""


def connected(family: str) -> tuple[socket.socket, socket.socket]:
    """Two ends that are connected, the first of them non-blocking."""
    if family == "unix":
        here, there = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            here = socket.create_connection(listener.getsockname())
            there, _ = listener.accept()
    here.setblocking(False)
    there.settimeout(20)
    return here, there


class Ends:
    """The client and the far end of one relay after the other."""

    def __init__(self, server: Server, near: str, far: str, place: Path) -> None:
        self.server = server
        self.near, self.family = near, far
        self.url = "tcp://127.0.0.1:0?sndbuf=16KiB" if near == "tcp" else f"unix://{place}/s"
        self.wrap: Callable[[socket.socket], StreamSocket] = lambda upstream: upstream
        self.client: socket.socket
        self.far: socket.socket
        self._open = contextlib.ExitStack()

    def serve(self, **limits: Any) -> None:
        self.service = Relayed(self._connect)
        self._address, self.events = self.server.add(self.service, self.url, **limits)
        stream = self.server.servers[-1]
        assert isinstance(stream, StreamServer)
        self.connections = stream.connections

    def _connect(self) -> StreamSocket:
        here, self.far = connected(self.family)
        self._open.enter_context(self.far)
        return self.wrap(here)

    def join(self, **limits: Any) -> RelayConnection:
        """A new client and far end."""
        if not hasattr(self, "service"):
            self.serve(**limits)
        self.client = self._open.enter_context(connect(self._address))
        until(lambda: any(type(one) is RelayConnection for one in self.connections))
        self.server.settle()
        [connection] = self.connections
        assert isinstance(connection, RelayConnection)
        return connection

    def of(self, client_first: bool) -> tuple[socket.socket, socket.socket]:
        return (self.client, self.far) if client_first else (self.far, self.client)

    def outcome(self) -> str:
        """The outcome of the one connection, after which nothing is left."""
        until(partial(ended, self.events, 1))
        until(lambda: not len(self.connections) and self.service.outcomes)
        assert not self.events.counters.active
        assert self.server.loop.wheel.due == float("inf"), "nothing is timed"
        assert self.service.outcomes == list(self.events.counters.closed.elements())
        return self.service.outcomes[0]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The loop does nothing within this."""
        held, go_on = threading.Event(), threading.Event()
        self.server.loop.call(held.set)
        self.server.loop.call(partial(go_on.wait, 10))
        assert held.wait(10)
        yield
        go_on.set()

    def close(self) -> None:
        self._open.close()


@pytest.fixture(params=["tcp-tcp", "tcp-unix", "unix-tcp", "unix-unix"])
def ends(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Ends]:
    near, far = request.param.split("-")
    with serving_relayed():
        one = Ends(server, near, far, tmp_path)
        yield one
        one.close()
        server.settle()
        until(lambda: not len(one.connections))


def fill(ends: Ends, sender: socket.socket) -> int:
    """Send until all buffers are full: the octets sent."""
    sender.setblocking(False)
    sent = idle = 0
    while idle < 10:
        try:
            sent += sender.send(DATA[sent % len(DATA) :][:50_000])
            idle = 0
        except BlockingIOError:
            idle += 1
            ends.server.settle()
        assert sent < most_held(), "it reads on and on"
    sender.settimeout(20)
    return sent


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()


def assert_was_reset(end: socket.socket) -> None:
    """The end was reset, or over UNIX closed."""
    if end.family == socket.AF_UNIX:
        with contextlib.suppress(ConnectionError):
            read_all(end)
        with pytest.raises(ConnectionError):
            end.send(b"x")
    else:
        with pytest.raises(ConnectionError):
            while end.recv(2**20):
                pass
            pytest.fail("an end of file")


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


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("client_first", [True, False])
def test_reset_of_an_end_resets_the_other(ends: Ends, client_first: bool, is_full: bool) -> None:
    ends.join()
    first, second = ends.of(client_first)
    second.sendall(b"unread")  # so that the close of a UNIX socket resets it
    until(lambda: select.select([first], [], [], 0)[0])
    if is_full:
        fill(ends, first)
    reset(first)
    if first.family == socket.AF_UNIX and not client_first:
        # A program may end before it has read all: its output is the client's.
        read_all(second)
        second.close()
        assert ends.outcome() == "done"
    else:
        assert ends.outcome() == "reset", "at once, although nothing is read"
        assert_was_reset(second)


@pytest.mark.parametrize("client_first", [True, False])
def test_bulk_that_is_reset_does_not_look_finished(
    server: Server, tmp_path: Path, client_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced = []
    receive = SplicePipe.receive

    def counted(pipe: SplicePipe, source: socket.socket, sink: socket.socket) -> int:
        spliced.append(pipe)
        return receive(pipe, source, sink)

    monkeypatch.setattr(SplicePipe, "receive", counted)
    with serving_relayed():
        ends = Ends(server, "tcp", "tcp", tmp_path)
        ends.join()
        first, second = ends.of(client_first)
        with ends.held():
            first.sendall(DATA[:CHUNK])  # after a full read, splice(2) is the first to meet the reset
            reset(first)
        assert_was_reset(second)
        assert ends.outcome() == "reset"
        assert spliced
        ends.close()


def test_reset_of_upstream_resets_a_wrapped_client(server: Server, tmp_path: Path) -> None:
    with serving_relayed():
        ends = Ends(server, "tcp", "tcp", tmp_path)
        ends.serve(preambles=TRANSFORMED)
        with connect(ends._address) as client:
            client.sendall(b"XOR\n")
            assert read_exactly(client, 3) == b"OK\n"
            until(lambda: hasattr(ends, "far"))
            ends.far.sendall(b"part")
            assert xor(read_exactly(client, 4)) == b"part"
            reset(ends.far)
            assert_was_reset(client)
        assert ends.outcome() == "reset"
        ends.close()


def test_answer_before_a_reset_of_upstream_reaches_a_client_that_sends(ends: Ends) -> None:
    ends.join()
    ends.client.sendall(b"xx")
    assert read_exactly(ends.far, 1) == b"x"
    until(lambda: select.select([ends.far], [], [], 0)[0])  # so that its close over UNIX is a reset as well
    with ends.held():
        ends.client.sendall(b"a long upload")
        ends.far.sendall(b"413 it is too long")
        reset(ends.far)
    assert read_exactly(ends.client, 18) == b"413 it is too long"
    if ends.family == "tcp":
        assert_was_reset(ends.client)
        assert ends.outcome() == "reset"
    else:
        assert read_all(ends.client) == b""
        ends.client.close()
        assert ends.outcome() == "done"


@pytest.mark.slow  # fills all buffers
def test_output_of_upstream_before_its_close_reaches_a_slow_client(ends: Ends) -> None:
    ends.join()

    def send() -> None:
        ends.far.sendall(DATA)
        ends.far.close()

    sender = threading.Thread(target=send)
    sender.start()
    received = bytearray()
    while len(received) < len(DATA):
        received += read_exactly(ends.client, 2**18)
    assert received == DATA
    assert ends.client.recv(1) == b""
    sender.join()
    ends.client.close()
    assert ends.outcome() == "done"


def test_output_of_upstream_before_its_close_reaches_a_client_that_sends_on(ends: Ends) -> None:
    ends.join()
    ends.far.sendall(DATA[:100_000])
    ends.far.close()
    for _ in range(3):
        ends.client.sendall(b"is anybody there")
        ends.server.settle()
    assert read_all(ends.client) == DATA[:100_000]
    ends.client.close()
    assert ends.outcome() == "done"


def test_client_that_sent_all_and_closed_is_delivered(ends: Ends) -> None:
    ends.join()
    sent = fill(ends, ends.client)
    ends.client.close()
    assert read_all(ends.far) == (DATA * 8)[:sent]
    ends.far.close()
    assert ends.outcome() == "done"


def test_client_that_sent_all_and_closed_is_delivered_although_it_takes_no_answer(ends: Ends) -> None:
    relay = ends.join()
    data, sent = DATA * 4, 0
    while not relay._upstream.pending:
        ends.client.sendall(data[sent : sent + 10_000])
        sent += 10_000
        ends.server.settle()
    ends.client.close()
    for _ in range(3):  # the first one makes the kernel of the client reset the connection
        ends.far.sendall(b"thank you")
        ends.server.settle()
    assert read_all(ends.far) == data[:sent]
    ends.far.close()
    assert ends.outcome() == "reset"


def test_client_is_told_at_once_that_a_program_has_ended(server: Server, tmp_path: Path) -> None:
    with serving_relayed():
        ends = Ends(server, "tcp", "unix", tmp_path)
        relay = ends.join()
        ends.client.sendall(b"its input is not read")
        ends.far.sendall(b"output")
        ends.far.close()
        assert read_all(ends.client) == b"output"
        until(lambda: relay._upstream.stream.fileno() < 0)  # it waits for the client to close, and for nothing else
        ends.client.sendall(b"what comes late is discarded")
        ends.client.shutdown(socket.SHUT_WR)
        assert ends.outcome() == "done"
        ends.close()


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


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("exec cat", DATA[: 2**20]),
        ("head -c 100", DATA[:100]),  # it ends with input unread
        ("exec <&-; seq 100000", "".join(f"{number}\n" for number in range(1, 100_001)).encode()),
        ("cat >&2; echo done", b"done\n"),
        ("kill -9 $$", b""),
    ],
)
def test_program_at_the_other_end_is_served_to_its_end(
    server: Server, tmp_path: Path, command: str, output: bytes
) -> None:
    def start() -> StreamSocket:
        here, there = socket.socketpair()
        here.setblocking(False)
        with there:
            programs.append(
                subprocess.Popen(
                    ["sh", "-c", command], stdin=there.fileno(), stdout=there.fileno(), stderr=subprocess.DEVNULL
                )
            )
        return here

    programs: list[subprocess.Popen[bytes]] = []
    with serving_relayed():
        service = Relayed(start)
        address, events = server.add(service, "tcp://127.0.0.1:0")
        with connect(address) as client:

            def send() -> None:
                with contextlib.suppress(ConnectionError):  # it has ended, and input is discarded no longer
                    client.sendall(DATA[: 2**20])
                    client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            assert read_all(client) == output
            sender.join()
        until(partial(ended, events, 1))
        assert service.outcomes == ["done"]
        for program in programs:
            program.wait(10)


def test_owner_ends_an_upstream_that_is_open_elsewhere(ends: Ends) -> None:
    relay = ends.join()
    with contextlib.closing(ends.far.dup()):
        with ends.held():
            ends.far.sendall(b"last words")
            ends.server.loop.call(relay.end_upstream)
        assert read_all(ends.client) == b"last words"
        ends.client.close()
        assert ends.outcome() == "done"
        ends.server.loop.call(relay.end_upstream)  # too late: it does nothing
        ends.server.settle()


@pytest.mark.parametrize("is_full", [True, False])
def test_operator_ends_a_relay_and_upstream_does_not_take_it_for_the_end_of_file(ends: Ends, is_full: bool) -> None:
    relay = ends.join()
    if is_full:
        fill(ends, ends.client)
        fill(ends, ends.far)
    for _ in range(2):
        ends.server.loop.call(partial(relay.close, "kicked"))
    assert ends.outcome() == "kicked"
    assert_was_reset(ends.far)
    with contextlib.suppress(ConnectionError):
        read_all(ends.client)


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


class Broken:
    """An upstream on which recv(2) raises ``error``."""

    def __init__(self, inner: socket.socket, error: BaseException, number: int | None = None) -> None:
        self._inner = inner
        self._error = error
        self._number = number
        self.shutdown, self.send = inner.shutdown, inner.send
        self.is_closed = self.resets = False

    def recv(self, size: int) -> bytes:
        if select.select([self._inner], [], [], 0)[0]:
            raise self._error
        raise BlockingIOError

    def fileno(self) -> int:
        return self._inner.fileno() if self._number is None or self.is_closed else self._number

    def reset_on_close(self) -> None:
        self.resets = True

    def close(self) -> None:
        self.is_closed = True
        self._inner.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(MemoryError(), "failed"), (OSError(errno.ETIMEDOUT, ""), "idle"), (OSError(errno.ECONNRESET, ""), "reset")],
)
def test_error_of_upstream_ends_this_connection_alone(ends: Ends, error: BaseException, outcome: str) -> None:
    ends.wrap = lambda upstream: Broken(upstream, error)
    ends.join()
    ends.far.sendall(b"x")
    assert ends.outcome() == outcome
    ends.client.close()


def test_upstream_that_epoll_does_not_take_ends_this_connection_alone(ends: Ends, tmp_path: Path) -> None:
    regular = os.open(tmp_path / "regular", os.O_CREAT)
    ends.wrap = lambda upstream: Broken(upstream, OSError(), regular)
    ends.serve()
    with connect(ends._address) as client, contextlib.suppress(ConnectionError):
        read_all(client)
    assert ends.outcome() == "failed"
    os.close(regular)
