"""Sockets at which nothing arrives any more: the queue is served, and the rest goes elsewhere or is refused."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.transport.arrivals import stop_arrivals
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener
from tests.support.users import ALEX, as_user

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def open_at(stack: ExitStack, url: str, yielding: Listener | None = None) -> Listener:
    [listener] = open_listeners(
        [("s", Endpoint.parse(url))], lambda *skipped: None, yielding=[yielding] if yielding else []
    )
    stack.callback(listener.close)
    listener.socket.settimeout(10)
    return listener


def move(stack: ExitStack, first: Listener, new: str) -> Listener:
    """A new listener with the port of an old one."""
    port = first.socket.getsockname()[1]
    first.endpoint = Endpoint.parse(f"{first.transport}://{first.endpoint.host}:{port}")
    return open_at(stack, f"{first.transport}://{new}:{port}", first)


MOVES = pytest.mark.parametrize(("old", "new"), [("127.0.0.1", "*"), ("*", "127.0.0.1"), ("0.0.0.0", "*")])


@MOVES
def test_connections_after_it_go_to_the_other_listener_and_those_before_are_served(
    stack: ExitStack, old: str, new: str
) -> None:
    first = open_at(stack, f"tcp://{old}:0")
    address = ("127.0.0.1", first.socket.getsockname()[1])
    queued = stack.enter_context(socket.create_connection(address))
    second = move(stack, first, new)
    stop_arrivals(first.socket)
    late = stack.enter_context(socket.create_connection(address))
    for listener, client in ((first, queued), (second, late)):
        connection, peer = listener.socket.accept()
        with connection:
            assert peer[1] == client.getsockname()[1]
            connection.sendall(b"served")
            assert client.recv(10) == b"served"


@MOVES
def test_datagrams_after_it_go_to_the_other_socket_and_those_before_are_answered(
    stack: ExitStack, old: str, new: str
) -> None:
    first = open_at(stack, f"udp://{old}:0")
    address = ("127.0.0.1", first.socket.getsockname()[1])
    client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.settimeout(10)
    client.sendto(b"before", address)
    second = move(stack, first, new)
    stop_arrivals(first.socket)
    client.sendto(b"after", address)
    assert second.socket.recv(10) == b"after"
    data, control, _, peer = first.socket.recvmsg(10, 100)
    assert data == b"before"
    first.socket.sendmsg([b"answer"], control, 0, peer)
    assert client.recvfrom(10) == (b"answer", address)
    first.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        first.socket.recv(10)


def test_without_another_listener_they_are_refused(stack: ExitStack, tmp_path: Path) -> None:
    for url in ("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix://{tmp_path}/s", f"unixgram://{tmp_path}/d"):
        listener = open_at(stack, url)
        address = listener.socket.getsockname()
        clients = [stack.enter_context(socket.socket(listener.socket.family, listener.socket.type)) for _ in range(2)]
        clients[0].connect(address)
        clients[0].send(b"before")
        stop_arrivals(listener.socket)
        clients[1].settimeout(10)
        with pytest.raises((ConnectionRefusedError, BrokenPipeError)):
            clients[1].connect(address)
            clients[1].send(b"after")
            clients[1].recv(1)
        listener.socket.settimeout(10)
        if listener.streams:
            connection, _ = listener.socket.accept()
            with connection:
                assert connection.recv(10) == b"before"
        else:
            assert listener.socket.recv(10) == b"before"


def test_ordinary_user_may_do_it_too() -> None:
    def both() -> None:
        with ExitStack() as stack:
            test_connections_after_it_go_to_the_other_listener_and_those_before_are_served(stack, "127.0.0.1", "*")
        with ExitStack() as stack:
            test_datagrams_after_it_go_to_the_other_socket_and_those_before_are_answered(stack, "127.0.0.1", "*")

    if os.geteuid() == 0:
        as_user(ALEX, both)
    else:
        both()


@pytest.mark.slow  # the client sends its SYN again after a second
def test_handshake_under_way_is_completed_at_the_old_listener(stack: ExitStack) -> None:
    first = open_at(stack, "tcp://127.0.0.1:0")
    second = move(stack, first, "*")
    client = stack.enter_context(socket.socket())
    client.setblocking(False)
    with discarding(client):
        client.connect_ex(
            first.socket.getsockname()
        )  # the listener has the SYN, and the client does not get the SYN-ACK
        stop_arrivals(first.socket)
    connection, peer = first.socket.accept()
    with connection:
        assert peer[1] == client.getsockname()[1]
    second.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.socket.accept()


def discarding(opened: socket.socket) -> ExitStack:
    """In this context, the kernel discards all that a socket receives (SO_ATTACH_FILTER, socket(7))."""
    instruction = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\0\0", 8)  # BPF_RET, 0 octets
    program = (ctypes.c_size_t * 2)(1, ctypes.addressof(instruction))  # struct sock_fprog
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
    except PermissionError:
        pytest.skip("needs root")
    stack = ExitStack()
    stack.callback(opened.setsockopt, socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    return stack
