"""Options that were set on a datagram socket before netd got it."""

import socket

import pytest

from netd.endpoints import Endpoint
from netd.services.echo import Echo
from netd.transport.listener import Listener
from tests.support.server import Server

OPTIONS = {
    "time stamps": (socket.SOL_SOCKET, 29, 1),
    "time stamps of sending": (socket.SOL_SOCKET, 37, 0x2 | 0x10),  # SOF_TIMESTAMPING_TX_SOFTWARE, SOFTWARE
    "error queue": (socket.IPPROTO_IP, 11, 1),
    "cork": (socket.IPPROTO_UDP, 1, 1),
    "segments": (socket.IPPROTO_UDP, 103, 100),
}


@pytest.mark.parametrize("batched", [True, False, None])
@pytest.mark.parametrize("name", OPTIONS)
def test_socket_answers_with_any_option_set_before(server: Server, name: str, batched: bool) -> None:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.setsockopt(*OPTIONS[name])
    server.serve(Echo(), Listener("test", Endpoint.parse("udp://127.0.0.1:0"), opened), batched=batched)
    level, option, _ = OPTIONS[name]
    assert opened.getsockopt(level, option) == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(opened.getsockname())
        for size in (1, 300, 1):
            client.send(b"x" * size)
            assert client.recv(9000) == b"x" * size
