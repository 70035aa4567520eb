"""A room in real daemons: streams and datagrams, several workers, a reload, the operator, and nc."""

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import ABSTRACT, Daemon, daemon, need, read_all, started, until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """\
daemon: {{workers: {workers}}}
services:
  chat: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://ABSTRACT"], options: {{{options}}}}}
""".replace("ABSTRACT", ABSTRACT)
QUIET = "announce: false"


class Member:
    """Somebody in the room, over whatever socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.heard = b""
        connection.setblocking(False)

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\n")

    def listen(self) -> None:
        """Take what there is."""
        with contextlib.suppress(BlockingIOError):
            while piece := self.connection.recv(65536):
                self.heard += piece

    @property
    def lines(self) -> list[str]:
        return [line for line in self.heard.decode().splitlines() if line != "ok"]


def over_tcp(running: Daemon) -> Member:
    return Member(socket.create_connection(("127.0.0.1", running.port("chat")), 10))


def over_udp(running: Daemon) -> Member:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", running.port("chat", "udp")))
    return Member(client)


def until_heard(members: Iterable[Member], number: int, seconds: float = 30) -> None:
    """Until each of them has heard so many lines."""
    waiting = {member.connection: member for member in members}
    end = time.monotonic() + seconds
    while waiting:
        ready = select.select(list(waiting), [], [], max(0, end - time.monotonic()))[0]
        assert ready, [(len(member.lines), member.lines[-1:]) for member in waiting.values()][:3]
        for connection in ready:
            waiting[connection].listen()
            if len(waiting[connection].lines) >= number:
                del waiting[connection]


def close(members: Iterable[Member]) -> None:
    for member in members:
        member.connection.close()


def test_every_message_reaches_each_of_two_hundred_members_once(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        members = [over_tcp(running) for _ in range(100)]
        until(lambda: running.ask("connections")["total"] == 100)  # connected may mean waiting to be accepted
        members += [over_udp(running) for _ in range(100)]
        for number, member in enumerate(members[100:]):
            member.say(f"n{number} :")  # sets a name and shows nothing: that it is there is known now
        for member in members[100:]:
            while b"ok" not in member.heard:
                select.select([member.connection], [], [], 10)
                member.listen()
        said = []
        for number, member in enumerate(members):
            member.say(f"m{number} : message {number}")
            said.append(f"m{number} : message {number}")
            until_heard(members[number + 1 :], number + 1)
            until_heard(members[:number], number)  # who has spoken has not heard its own words
        for number, member in enumerate(members):
            member.listen()
            assert member.lines == [line for line in said if line != said[number]]
        close(members)


def test_the_room_goes_on_after_a_reload_and_begins_anew_with_a_new_worker(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        old, older = over_tcp(running), over_udp(running)
        older.say("udo : hi")
        until_heard([old], 1)
        (tmp_path / "netd.yaml").write_text(CONFIG.format(workers=2, options="announce: true, history: 5"))
        running.ask("reload")
        new = over_tcp(running)
        new.say("nora : hello")
        until_heard([old], 3)
        until_heard([older], 2)
        assert old.lines == ["udo : hi", "* nora has joined", "nora : hello"]
        assert older.lines == ["* nora has joined", "nora : hello"]
        old.say("ole : still here")
        until_heard([new], 2)
        assert new.lines == ["* ole has joined", "ole : still here"], "both are in one room"
        first = [line["pid"] for line in running.lines if line["event"] == "worker_started" and line["worker"] == 0]
        subprocess.run(["kill", "-9", str(first[0])], check=True)
        running.event("worker_started")
        again, another = over_tcp(running), over_tcp(running)
        again.say("ada : anybody there?")
        until_heard([another], 2)
        assert another.lines == ["* ada has joined", "ada : anybody there?"]
        close([old, older, new, again, another])


def test_the_operator_takes_part_from_the_host(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, options=QUIET), tmp_path) as running:
        alex = over_tcp(running)
        command = [sys.executable, "-u", "-m", "netd", "talk", "--control", running.control]
        pipe = subprocess.PIPE
        words = (*command, "--service", "chat", "--name", "operator")
        with started(*words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as operator:
            assert operator.stdin
            assert operator.stdout
            operator.stdin.write("good morning\n")
            until_heard([alex], 1)
            alex.say("alex : good morning to you")
            assert operator.stdout.readline() == "alex : good morning to you\n"
            operator.stdin.write("is it raining?\n")
            until_heard([alex], 2)
            alex.say("no")
            assert operator.stdout.readline() == "alex : no\n"
            operator.stdin.write("bye\n")
            assert operator.stdout.readline() == "* goodbye\n"
            assert operator.wait(20) == 0
        assert alex.lines == ["operator : good morning", "operator : is it raining?"]
        alex.connection.close()


def test_a_slow_reader_is_told_what_it_missed_and_slows_nobody(tmp_path: Path) -> None:
    config = CONFIG.format(workers=1, options=QUIET).replace("tcp://127.0.0.1:0", "tcp://127.0.0.1:0?sndbuf=4096")
    with daemon(config, tmp_path) as running:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", running.port("chat")))
        good = over_tcp(running)
        speakers = [over_tcp(running) for _ in range(10)]
        for number in range(25):
            for speaker in speakers:
                speaker.say("x" * 1000)
            until_heard([good], (number + 1) * len(speakers))
            for speaker in speakers:
                speaker.listen()  # who does not read is not read
        assert not any(line.startswith("*") for line in good.lines)
        slow.settimeout(20)
        heard = b""
        while b"read too slowly" not in heard:
            speakers[0].say("late")
            heard += slow.recv(65536)
        slow.close()
        close([good, *speakers])


def test_nc_over_tcp_and_udp(tmp_path: Path) -> None:
    need("nc")
    options = "colors: {alex: {fg: yellow, bg: green}}, color: on"
    with daemon(CONFIG.format(workers=1, options=options), tmp_path) as running:
        listener = over_tcp(running)
        port = str(running.port("chat", "udp"))
        done = subprocess.run(
            ["nc", "-u", "-w1", "127.0.0.1", port], input=b"alex : hello\n", capture_output=True, check=True
        )
        assert done.stdout == b"ok\n"
        until_heard([listener], 2)
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


def test_with_two_workers_a_room_may_become_another_service_and_its_place_another_ones(tmp_path: Path) -> None:
    place = f'listen: ["unix://{ABSTRACT}"]'

    def reload(services: str) -> None:
        (tmp_path / "netd.yaml").write_text(f"daemon: {{workers: 2}}\nservices: {{{services}}}\n")
        assert running.ask("reload")["ok"], running.ask("reload")

    def echoes() -> None:
        for _ in range(8):  # by whichever worker is first
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
