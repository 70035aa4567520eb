"""A chat over real sockets: each member gets the lines of the others, and a slow member delays no other."""

import re
import socket
import struct
import subprocess
from itertools import count
from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.testing import NOW
from netd.transport.listener import Listener
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all
from tests.support.veth import Far, joined
from tests.support.waiting import until
from tests.transport.stream.peers import connect


class Guest:
    """A member of the chat, at a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.lines = connection.makefile("rb")

    def send(self, *lines: bytes) -> None:
        self.socket.sendall(b"".join(line + b"\n" for line in lines))

    def receives(self, *lines: bytes) -> None:
        for line in lines:
            assert self.lines.readline().rstrip(b"\r\n") == line

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.lines.close()
        self.socket.close()


def test_chat_over_tcp_and_unix_is_one_room(server: Server, tmp_path: Path) -> None:
    chat = service("chat")
    tcp, _ = server.add(chat, "tcp://127.0.0.1:0")
    unix, events = server.add(chat, f"unix://{tmp_path}/chat.sock")
    alex, bob, eve = Guest(connect(tcp)), Guest(connect(tcp)), Guest(connect(unix))
    for guest in (alex, bob, eve):
        guest.send(b"/color off")
        guest.receives(b"* colors are off")
    alex.send(b"alex : hello")
    eve.receives(b"* alex has joined", b"alex : hello")
    bob.receives(b"* alex has joined", b"alex : hello")
    alex.receives(b"* here: 2 others; q leaves")
    eve.send(b"eve: hi, \x1b[31malex")
    eve.receives(b"* here: alex, 1 other; q leaves")
    alex.receives(b"* eve has joined", b"eve : hi, alex")
    bob.receives(b"* eve has joined", b"eve : hi, alex")
    alex.close(reset=True)
    bob.receives(b"* alex has left")
    bob.send(b"bye")
    assert read_all(bob.socket) == b"* goodbye\n"
    bob.close()
    eve.receives(b"* alex has left")
    eve.send(b"x" * 5000)
    eve.receives(b"error: a line may have at most 4096 octets")
    eve.close()
    server.settle()
    assert events.table.read().failed == 0
    assert not chat._room._streams


@pytest.mark.slow  # fills all buffers
def test_member_that_does_not_read_loses_messages_with_a_notice_and_delays_no_other(server: Server) -> None:
    seconds = count(NOW)
    chat = service("chat", clock=lambda: next(seconds), announce=False)  # so slow that no member floods
    address, _ = server.add(chat, "tcp://127.0.0.1:0?sndbuf=4096")
    alex, bob, slow = Guest(connect(address)), Guest(connect(address)), Guest(connect(address))
    for guest in (bob, slow):
        guest.send(b"/color off")
        guest.receives(b"* colors are off")
    number = 0

    def exchange(times: int) -> None:
        nonlocal number
        said = [b"%06d " % one + b"x" * 1000 for one in range(number, number + times)]
        number += times
        alex.send(*(b"a : " + line for line in said))
        bob.receives(*(b"a : " + line for line in said))

    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(50):
        exchange(20)
    heard = []
    while not (told := re.match(rb"\* (\d+) messages? lost", line := slow.lines.readline())):
        heard.append(int(line[4:10]))
        exchange(1)
    assert heard == list(range(len(heard)))
    assert int(slow.lines.readline()[4:10]) == len(heard) + int(told[1])
    for guest in (alex, bob, slow):
        guest.close()


@pytest.mark.slow  # waits for a time-out
@pytest.mark.parametrize("passed", [False, True])
def test_member_behind_a_dead_link_leaves_although_others_talk(passed: bool) -> None:
    def run(far: Far) -> None:
        with Server() as server:
            chat = service("chat", clock=count(NOW, 60.0).__next__)  # so slow that no member writes too fast
            if passed:
                listener = Listener("test", Endpoint.parse("systemd://chat"), socket.create_server(("", 0)))
                events = server.serve(chat, listener, policy={"limits": {"idle": "1s"}})
                port = listener.socket.getsockname()[1]
            else:
                (_, port, *_), events = server.add(chat, "tcp://*:0", idle="1s")
            lost = Guest(far(lambda: connect(("10.0.0.1", port))))
            lost.send(b"lost : hello")
            lost.receives(b"* you are alone here; q leaves")
            near = Guest(connect(("127.0.0.1", port)))
            near.send(b"near : hello", b"/color off")
            lost.receives(b"* near has joined", b"near : hello")
            far(lambda: subprocess.run(["ip", "addr", "del", "10.0.0.9/24", "dev", "ve0"], check=True))

            def is_alone() -> bool:
                near.send(b"anybody?")
                return events.counters.closed["idle"] == 1

            until(is_alone)
            near.send(b"q")
            assert b"* lost has left" in read_all(near.socket)
            lost.close()
            near.close()

    joined(run)
