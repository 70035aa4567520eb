"""Servers for connections that another one passes on: the options of sockets, and the listener of the other."""

import socket
from functools import partial
from pathlib import Path

import pytest

from netd.contract import Context
from netd.services.echo import Echo
from netd.services.exec import Exec
from tests.support.server import Server
from tests.support.sockets import read_exactly
from tests.support.waiting import until
from tests.transport.stream.multiplexed import Mux
from tests.transport.stream.peers import connect, ended


def test_connection_has_the_options_of_its_service(server: Server) -> None:
    mux = Mux(server, "tcp://127.0.0.1:0", idle="3s")
    target = mux.pass_on("it", Echo(), {"limits": {"idle": "77s"}})
    with connect(mux.address) as client:
        client.sendall(b"it\r\nx")
        assert read_exactly(client, 4) == b"+\r\nx"
        [connection] = target.connections
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 77_000  # type: ignore[attr-defined]
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("relay", "options"), [(False, 0), (True, 1)])
def test_program_gets_a_connection_with_the_defaults_of_the_kernel(server: Server, relay: bool, options: int) -> None:
    mux = Mux(server, "tcp://127.0.0.1:0")
    given = Exec.Options.model_validate({"command": ["/bin/cat"], "relay": relay})
    target = mux.pass_on("it", Exec(given, Context()))
    assert target._options
    assert {value for _, option, value in target._options if option == socket.TCP_NODELAY} == {options}


def test_end_of_the_service_leaves_the_listener_to_tcpmux(server: Server, tmp_path: Path) -> None:
    mux = Mux(server, f"unix://{tmp_path}/s")
    target = mux.pass_on("it", Echo())
    other = mux.pass_on("other", Echo())
    with connect(mux.address) as client:
        client.sendall(b"it\r\nx")
        assert read_exactly(client, 4) == b"+\r\nx"
        server.loop.call(target.server_close)
        server.settle()
        client.sendall(b"y")
        assert read_exactly(client, 1) == b"y", "open connections stay open"
        with connect(mux.address) as another:
            another.sendall(b"other\r\nx")
            assert read_exactly(another, 4) == b"+\r\nx"
        server.loop.call(target.close)
        assert client.recv(1) == b""
    until(partial(ended, target.events, 1))
    until(partial(ended, other.events, 1))
