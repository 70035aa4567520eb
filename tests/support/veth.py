"""Two network namespaces that a veth joins."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.namespaces import enter_namespace, in_namespace
from tests.support.waiting import until

Far = Callable[[Callable[[], Any]], Any]
"""Does something in the other network namespace, and returns what that returns."""


def joined(run: Callable[[Far], None], *commands: str, far: tuple[str, ...] = ()) -> None:
    """Run a test in a network namespace that a veth joins to another one, with these ``ip`` commands here and there.

    The interface is ve0 at both ends; 10.0.0.1, 10.0.0.2, fd00::1, fe80::aa here; 10.0.0.9, fd00::9, fe80::99 there.
    """

    def enter() -> int:
        enter_namespace()
        return threading.get_native_id()

    def ip(*all_commands: str) -> None:
        for command in all_commands:
            subprocess.run(["ip", *command.split()], check=True)

    def run_joined() -> None:
        with ThreadPoolExecutor(max_workers=1) as other:

            def at_the_far_end(act: Callable[[], Any]) -> Any:
                return other.submit(act).result(60)

            there = at_the_far_end(enter)
            ip(
                f"link add ve0 type veth peer name ve0 netns /proc/{os.getpid()}/task/{there}/ns/net",
                "link set ve0 addrgenmode none",
                "addr add 10.0.0.1/24 brd + dev ve0",
                "addr add 10.0.0.2/24 dev ve0",
                "addr add fd00::1/64 dev ve0 nodad",
                "addr add fe80::aa/64 dev ve0 nodad",
                "link set ve0 up",
            )
            at_the_far_end(
                lambda: ip(
                    "link set lo up",
                    "link set ve0 addrgenmode none",
                    "addr add 10.0.0.9/24 brd + dev ve0",
                    "addr add fd00::9/64 dev ve0 nodad",
                    "addr add fe80::99/64 dev ve0 nodad",
                    "link set ve0 up",
                    *far,
                )
            )
            ip(*commands)
            for host, mine in (("10.0.0.1", "10.0.0.9"), ("fd00::1", "fd00::9"), ("fe80::aa%ve0", "fe80::99%ve0")):
                meet(at_the_far_end, host, mine)
            run(at_the_far_end)

    in_namespace(run_joined)


@contextlib.contextmanager
def asking(far: Far, asked: tuple[Any, ...], mine: str = "") -> Iterator[socket.socket]:
    """A client in the other namespace, connected, so that it receives answers only from the address it sends to."""
    family = socket.AF_INET6 if ":" in asked[0] else socket.AF_INET

    def opened() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        host, _, interface = mine.partition("%")
        if family == socket.AF_INET6:
            made.bind((host, 0, 0, socket.if_nametoindex(interface) if interface else 0))
        else:
            made.bind((host, 0))
        host, _, interface = asked[0].partition("%")
        if interface:
            made.connect((host, asked[1], 0, socket.if_nametoindex(interface)))
        else:
            made.connect((host, asked[1]))
        made.settimeout(20)
        return made

    with far(opened) as client:
        yield client


def meet(far: Far, host: str, mine: str) -> None:
    """Have the two ends resolve each other's link-layer addresses, until which the first datagrams may be lost."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.bind(("", 0))
        near.setblocking(False)
        with asking(far, (host, near.getsockname()[1]), mine) as client:
            client.setblocking(False)

            def answered() -> bool:
                with contextlib.suppress(OSError):  # the link may not be up yet
                    client.send(b"x")
                with contextlib.suppress(BlockingIOError):
                    near.sendto(*near.recvfrom(10))
                with contextlib.suppress(BlockingIOError):
                    return client.recv(10) == b"x"
                return False

            until(answered)
