"""deploy/nginx: both files as they stand, at the addresses that they name."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.hosts import CLIENT, COMMANDS, PROXY, named_by, netds, ping, proxy, through_the_proxy
from tests.source_tree import ROOT
from tests.support.daemon import Daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import need
from tests.support.sockets import read_exactly

pytestmark = pytest.mark.slow  # two daemons and nginx

CONFIG = ROOT / "deploy" / "nginx" / "nginx.conf"
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@contextlib.contextmanager
def running_nginx(directory: Path) -> Iterator[list[Daemon]]:
    """Both netds, behind nginx."""
    nginx = need("nginx", MODULE)
    text = CONFIG.read_text().replace("include /etc/nginx/modules-enabled/*.conf;", f"load_module {MODULE};")
    for port in (8888, 7007):  # the netds listen on these ports of the same host
        text = text.replace(f"listen {port}", f"listen {PROXY}:{port}")
    config = directory / "nginx.conf"
    config.write_text(f"daemon off; master_process off; pid {directory}/pid;\n{text}")
    command = (nginx, "-p", directory, "-e", directory / "error.log", "-c", config)
    with netds("nginx/netd.yaml", directory) as running, proxy(8888, *command):
        yield running


def test_clients_of_nginx_are_named_and_move_to_the_other_netd_when_one_stops(tmp_path: Path) -> None:
    def run() -> None:
        with running_nginx(tmp_path) as running, through_the_proxy(8888) as connection:
            connection.sendall(b"ping 7\n")
            assert read_exactly(connection, 7) == b"pong 7\n"
            netd, *names = named_by(running, "pingpong")
            assert names == [CLIENT, PROXY]
            netd.process.terminate()
            netd.event("drain_started")
            assert [ping(8888) for _ in range(10)] == [b"pong 1\n"] * 10
            connection.sendall(b"ping 8\n")  # the netd that stops gives it time to finish
            assert read_exactly(connection, 7) == b"pong 8\n"

    in_namespace(run, *COMMANDS)


def test_rate_of_a_source_does_not_hold_for_all_clients_of_nginx(tmp_path: Path) -> None:
    def run() -> None:
        with running_nginx(tmp_path):
            for number in range(300):  # three times the burst
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(10)
                    client.bind((CLIENT, 0))
                    client.sendto(b"%d" % number, (PROXY, 7007))
                    assert client.recv(100) == b"%d" % number

    in_namespace(run, *COMMANDS)
