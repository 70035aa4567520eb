"""`netd probe` and `netd talk` with the echo servers that socat, ncat and busybox make."""

import json
import socket
import subprocess
import sys

import pytest

from tests.support.programs import need, program, started, type_until
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # processes on both sides

SERVERS = {
    "socat exec": "socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork EXEC:cat",
    "socat pipe": "socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork PIPE",
    "ncat": "ncat -l -k -e /bin/cat 127.0.0.1 {port}",
    "busybox nc": "busybox nc -ll -p {port} 127.0.0.1 -e cat",
}


def listens(port: int) -> bool:
    """Whether a connection is accepted at this port on loopback."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_echo_server_is_probed_and_talked_to(server: str) -> None:
    port = free_port()
    name, *words = SERVERS[server].format(port=port).split()
    url = f"tcp://127.0.0.1:{port}"
    with started(need(name), *words, stdin=subprocess.DEVNULL):
        until(lambda: listens(port))
        probe = ("probe", url, "--service", "echo", "--count", "5", "--rate", "100/s", "--json")
        command = [sys.executable, "-m", "netd", *probe]
        probed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (probed.returncode, json.loads(probed.stdout)["targets"][0]["lost"]) == (0, 0), probed.stdout
        # The input stays open, since ncat drops the answer of its program at an end of file.
        with program(sys.executable, "-m", "netd", "talk", url) as talk:
            type_until(talk, "hello\n", "hello\n")
