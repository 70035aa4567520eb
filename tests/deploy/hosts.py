"""The addresses that the files of `deploy/` name, on the loopback interface of a network namespace."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.source_tree import ROOT
from tests.support.daemon import Daemon, daemon
from tests.support.programs import started
from tests.support.waiting import until

PROXY, NETDS, CLIENT = "10.0.0.1", ("10.0.0.11", "10.0.0.12"), "192.0.2.7"

COMMANDS = (
    *(f"addr add {address}/32 dev lo" for address in (PROXY, *NETDS, CLIENT)),
    # What connects to a netd does so from the address of the proxy.
    *(f"route change local {address} dev lo table local src {PROXY}" for address in NETDS),
)
"""Arguments of ip(8): these addresses exist, and connections from this host to a netd come from the proxy."""


@contextlib.contextmanager
def netds(config: str, directory: Path) -> Iterator[list[Daemon]]:
    """A netd for each of both addresses, with this file of `deploy/` for its config."""
    text = (ROOT / "deploy" / config).read_text()
    with contextlib.ExitStack() as stack:
        running = []
        for address in NETDS:
            own = directory / address
            own.mkdir()
            running.append(stack.enter_context(daemon(text.replace("://*:", f"://{address}:"), own)))
        yield running


@contextlib.contextmanager
def through_the_proxy(port: int) -> Iterator[socket.socket]:
    """A connection of the client to the proxy."""
    with socket.create_connection((PROXY, port), 10, (CLIENT, 0)) as connection:
        yield connection


def ping(port: int) -> bytes:
    """What the client gets for a ping at the proxy."""
    with through_the_proxy(port) as connection:
        connection.sendall(b"ping 1\n")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


@contextlib.contextmanager
def proxy(port: int, *command: object) -> Iterator[None]:
    """A proxy that runs, and accepts connections."""

    def answers() -> bool:
        with contextlib.suppress(OSError), through_the_proxy(port):
            return True
        return False

    with started(*command, stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or answers())
        assert process.poll() is None, "the proxy has ended"
        yield


def served_requests(netd: Daemon, service: str) -> int:
    """How many requests of a service a netd has served."""
    return sum(int(one["requests"]) for one in netd.ask("status")["services"] if one["service"] == service)


def named_by(running: list[Daemon], service: str) -> tuple[Daemon, str, str]:
    """The netd that has the one connection of a service, with the hosts of its peer and of the proxy.

    Until that one is left: `proxy` has tried whether it is answered, and the end of that passes through the proxy.
    """

    def listed() -> list[tuple[Daemon, dict[str, str]]]:
        return [
            (netd, one)
            for netd in running
            for one in netd.ask("connections")["connections"]
            if one["service"] == service
        ]

    until(lambda: len(listed()) == 1)
    [(netd, one)] = listed()
    return netd, one["peer"].rpartition(":")[0], one["via"].rpartition(":")[0]
