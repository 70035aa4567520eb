"""How relays end: a reset, a close, a program that has ended, and what is delivered before."""

import contextlib
import errno
import os
import select
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import CHUNK, StreamSocket
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.relay_ends import DATA, Ends, assert_was_reset, fill, reset
from tests.transport.stream.relayed import Relayed, serving_relayed
from tests.transport.stream.toy_preambles import TRANSFORMED, xor


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
