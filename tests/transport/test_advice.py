"""The remedies: commands in them show what they promise."""

import errno
import socket
import subprocess

import pytest

from netd.endpoints import Endpoint
from netd.transport.advice import advice
from tests.support.programs import need


@pytest.mark.parametrize(("scheme", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_command_for_an_address_in_use_shows_a_socket_that_is_connected(scheme: str, kind: socket.SocketKind) -> None:
    need("ss")
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.connect(elsewhere.getsockname())
        endpoint = Endpoint.parse(f"{scheme}://127.0.0.1:{holder.getsockname()[1]}")
        remedy = advice(OSError(errno.EADDRINUSE, ""), endpoint)
        command = remedy.partition(": ")[2]
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
        assert f"127.0.0.1:{endpoint.port}" in shown
