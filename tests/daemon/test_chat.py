"""The chat service in real daemons: streams and datagrams, several workers, a reload, the operator, and nc."""

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started
from tests.support.sockets import ABSTRACT, read_all
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """\
daemon: {{workers: {workers}}}
services:
  chat: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://ABSTRACT"], options: {{{options}}}}}
""".replace("ABSTRACT", ABSTRACT)
QUIET = "announce: false"


class Client:
    """A client of the chat, over a socket of any kind."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        connection.setblocking(False)

    def send(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\n")

    def read(self) -> None:
        """Read the data that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while piece := self.connection.recv(65536):
                self.received += piece

    @property
    def lines(self) -> list[str]:
        return [line for line in self.received.decode().splitlines() if line != "ok"]


def over_tcp(running: Daemon) -> Client:
    return Client(socket.create_connection(("127.0.0.1", running.port("chat")), 10))


def over_udp(running: Daemon) -> Client:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", running.port("chat", "udp")))
    return Client(client)


def until_received(clients: Iterable[Client], number: int, seconds: float = 30) -> None:
    """Wait until each of them has received so many lines."""
    waiting = {client.connection: client for client in clients}
    end = time.monotonic() + seconds
    while waiting:
        ready = select.select(list(waiting), [], [], max(0, end - time.monotonic()))[0]
        assert ready, [(len(client.lines), client.lines[-1:]) for client in waiting.values()][:3]
        for connection in ready:
            waiting[connection].read()
            if len(waiting[connection].lines) >= number:
                del waiting[connection]


def close(clients: Iterable[Client]) -> None:
    for client in clients:
        client.connection.close()


def test_message_reaches_each_of_two_hundred_members_once(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        clients = [over_tcp(running) for _ in range(100)]
        until(lambda: running.ask("connections")["total"] == 100)  # connected may mean waiting to be accepted
        clients += [over_udp(running) for _ in range(100)]
        for number, client in enumerate(clients[100:]):
            client.send(f"n{number} :")  # sets a name and sends no message: the chat has its address now
        for client in clients[100:]:
            while b"ok" not in client.received:
                select.select([client.connection], [], [], 10)
                client.read()
        sent = []
        for number, client in enumerate(clients):
            client.send(f"m{number} : message {number}")
            sent.append(f"m{number} : message {number}")
            until_received(clients[number + 1 :], number + 1)
            until_received(clients[:number], number)  # a client does not receive its own message
        for number, client in enumerate(clients):
            client.read()
            assert client.lines == [line for line in sent if line != sent[number]]
        close(clients)


def test_chat_continues_after_a_reload_and_is_empty_in_a_new_worker(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        old, older = over_tcp(running), over_udp(running)
        older.send("udo : hi")
        until_received([old], 1)
        (tmp_path / "netd.yaml").write_text(CONFIG.format(workers=2, options="announce: true, history: 5"))
        running.ask("reload")
        new = over_tcp(running)
        new.send("nora : hello")
        until_received([old], 3)
        until_received([older], 2)
        until_received([new], 1)
        assert old.lines == ["udo : hi", "* nora has joined", "nora : hello"]
        assert older.lines == ["* nora has joined", "nora : hello"]
        old.send("ole : still here")
        until_received([new], 3)
        assert new.lines == [
            "* here: udo, 1 other; q leaves",
            "* ole has joined",
            "ole : still here",
        ], "both are in one chat"
        first = [line["pid"] for line in running.lines if line["event"] == "worker_started" and line["worker"] == 0]
        subprocess.run(["kill", "-9", str(first[0])], check=True)
        running.event("worker_started")
        again, another = over_tcp(running), over_tcp(running)
        again.send("ada : is this on?")
        until_received([another], 2)
        assert another.lines == ["* ada has joined", "ada : is this on?"]
        close([old, older, new, again, another])


def test_operator_takes_part_by_netd_talk(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        alex = over_tcp(running)
        command = [sys.executable, "-u", "-m", "netd", "talk", "--control", running.control]
        pipe = subprocess.PIPE
        words = (*command, "--service", "chat", "--name", "operator")
        with started(*words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as operator:
            assert operator.stdin
            assert operator.stdout
            operator.stdin.write("good morning\n")
            until_received([alex], 1)
            alex.send("alex : good morning to you")
            assert operator.stdout.readline() == "alex : good morning to you\n"
            operator.stdin.write("is it raining?\n")
            until_received([alex], 2)
            alex.send("no")
            assert operator.stdout.readline() == "alex : no\n"
            operator.stdin.write("bye\n")
            assert operator.stdout.readline() == "* goodbye\n"
            assert operator.wait(20) == 0
        assert alex.lines == ["operator : good morning", "operator : is it raining?"]
        alex.connection.close()


def test_slow_reader_is_notified_of_missed_messages_and_delays_no_other(tmp_path: Path) -> None:
    config = CONFIG.format(workers=1, options=QUIET).replace("tcp://127.0.0.1:0", "tcp://127.0.0.1:0?sndbuf=4096")
    with daemon(config, tmp_path) as running:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", running.port("chat")))
        good = over_tcp(running)
        speakers = [over_tcp(running) for _ in range(10)]
        for number in range(25):
            for speaker in speakers:
                speaker.send("x" * 1000)
            until_received([good], (number + 1) * len(speakers))
            for speaker in speakers:
                speaker.read()  # the chat does not read from a client that does not read
        assert not any(line.startswith("*") for line in good.lines)
        slow.settimeout(20)
        received = b""
        while b"read too slowly" not in received:
            speakers[0].send("late")
            received += slow.recv(65536)
        slow.close()
        close([good, *speakers])


def test_nc_chats_over_tcp_and_udp(tmp_path: Path) -> None:
    need("nc")
    options = "colors: {alex: {fg: yellow, bg: green}}, color: on"
    with daemon(CONFIG.format(workers=1, options=options), tmp_path) as running:
        listener = over_tcp(running)
        port = str(running.port("chat", "udp"))
        done = subprocess.run(
            ["nc", "-u", "-w1", "127.0.0.1", port], input=b"alex : hello\n", capture_output=True, check=True
        )
        assert done.stdout == b"ok\n"
        until_received([listener], 2)
        assert listener.lines == [
            "* \x1b[33;42malex\x1b[0m has joined",
            "\x1b[33;42malex\x1b[0m : hello",
        ]
        done = subprocess.run(
            ["nc", "-N", "127.0.0.1", str(running.port("chat"))], input=b"bye\n", capture_output=True, check=True
        )
        assert done.stdout == b"* goodbye\n"
        with socket.create_connection(("127.0.0.1", running.port("chat"))) as connection:
            connection.sendall(b"q\r\n")
            assert read_all(connection) == b"* goodbye\r\n"
        listener.connection.close()


def test_chat_with_two_workers_may_change_its_type_and_pass_its_socket_to_another_service(tmp_path: Path) -> None:
    place = f'listen: ["unix://{ABSTRACT}"]'

    def reload(services: str) -> None:
        (tmp_path / "netd.yaml").write_text(f"daemon: {{workers: 2}}\nservices: {{{services}}}\n")
        assert running.ask("reload")["ok"], running.ask("reload")

    def echoes() -> None:
        for _ in range(8):  # by any worker
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(ABSTRACT.replace("@", "\0"))
                connection.sendall(b"hi")
                assert connection.recv(10) == b"hi"

    with daemon(f"daemon: {{workers: 2}}\nservices: {{room: {{type: chat, {place}}}}}\n", tmp_path) as running:
        reload(f"room: {{type: echo, {place}}}")
        echoes()
        reload(f"room: {{type: chat, {place}}}")
        reload(f"other: {{type: echo, {place}}}")
        echoes()
