"""Answers to UNIX datagrams: they are sent only to a socket of the sender, and nowhere else that its path may lead."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.services.echo import Echo
from netd.transport.listen import open_listeners
from tests.support.daemon import daemon
from tests.support.server import Server
from tests.support.users import ALEX, as_user
from tests.support.waiting import until
from tests.transport.peers import ask
from tests.transport.sample_services import Board
from tests.transport.taps import look, tap

OTHER = 65_533  # a user that is not the one of this process


def need_root() -> None:
    """Skip without root; where NETD_REQUIRE_TOOLS is set, as in CI, fail."""
    if os.geteuid():
        (pytest.fail if os.environ.get("NETD_REQUIRE_TOOLS") else pytest.skip)("not root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in which each user may make sockets."""
    with tempfile.TemporaryDirectory(prefix="netd-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def bound(path: object) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.bind(str(path))
    opened.settimeout(20)
    return opened


def meanwhile(server: Server, act: Callable[[], object]) -> None:
    """Call ``act`` while the loop of the server is held."""
    done: list[BaseException | None] = []

    def run() -> None:
        try:
            act()
            done.append(None)
        except BaseException as error:
            done.append(error)

    server.loop.call(run)
    until(lambda: done)
    if done[0]:
        raise done[0]
    server.settle()


def is_silent(opened: socket.socket) -> bool:
    opened.setblocking(False)
    try:
        opened.recv(100)
    except BlockingIOError:
        return True
    return False


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Replace a socket file atomically."""
    other = path.with_name("other")
    make(other)
    os.rename(other, path)


ATTACKS: dict[str, Callable[[Path, str], None]] = {
    "symlink": lambda mine, target: replaced(mine, lambda other: os.symlink(target, other)),
    "hard link": lambda mine, target: replaced(mine, lambda other: os.link(target, other)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_client_cannot_make_a_service_answer_itself(
    server: Server, tmp_path: Path, log: list[dict[str, Any]], attack: str
) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    server.shared.paths = {address}
    mine = tmp_path / "c"
    with bound(mine) as client:

        def attempt() -> None:
            for _ in range(5):
                client.sendto(b"loop", address)
            ATTACKS[attack](mine, address)

        meanwhile(server, attempt)
    # An answer through the hard link, which has the right owner, comes from netd's own socket.
    until(lambda: events.counters.dropped == {"source_path": 5})
    for _ in range(10):
        server.settle()
    assert events.counters.datagrams_in == 5
    assert [(line["event"], line["reason"]) for line in log] == [("datagrams_dropped", "source_path")]
    assert ask(address, b"y", tmp_path) == b"y"


def test_client_cannot_make_netd_write_to_another_socket(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    mine = tmp_path / "c"
    with bound(tmp_path / "journal") as journal, bound(mine) as client:

        def attempt() -> None:
            client.sendto(b"MESSAGE=root logged in", address)
            replaced(mine, lambda other: os.symlink(tmp_path / "journal", other))

        meanwhile(server, attempt)
        until(lambda: events.counters.dropped == {"source_path": 1})
        assert is_silent(journal)


def test_path_that_is_no_longer_a_socket_gets_no_answer(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    mine = tmp_path / "c"
    kinds: list[Callable[[Path], object]] = [Path.touch, Path.mkdir, os.mkfifo]
    wanted: list[int] = []
    for number, make in enumerate(kinds):
        with bound(mine) as client:

            def attempt(client: socket.socket = client, make: Callable[[Path], object] = make) -> None:
                client.sendto(b"x", address)
                mine.unlink()
                make(mine)

            meanwhile(server, attempt)
            wanted.append(number + 1)
            until(lambda: events.counters.dropped["source_path"] == wanted[-1])
        mine.rmdir() if mine.is_dir() else mine.unlink()


def test_socket_of_another_user_gets_no_answer(server: Server, place: Path, log: list[dict[str, Any]]) -> None:
    need_root()
    address, events = server.add(Echo(), f"unixgram://{place}/s")
    with bound(place / "c") as client:
        os.chown(place / "c", OTHER, -1)
        client.sendto(b"x", address)
        until(lambda: events.counters.dropped == {"source_path": 1})
        assert is_silent(client)
    [line] = log
    assert line["peer"] == f"{place}/c"
    # Also through a directory that is replaced: the last component of the path is no link then.
    (place / "mine").mkdir()
    (place / "theirs").mkdir()
    with bound(place / "theirs" / "c") as victim, bound(place / "mine" / "c") as client:
        os.chown(place / "theirs" / "c", OTHER, -1)

        def attempt() -> None:
            client.sendto(b"x", address)
            os.rename(place / "mine", place / "gone")
            os.symlink(place / "theirs", place / "mine")

        meanwhile(server, attempt)
        until(lambda: events.counters.dropped == {"source_path": 2})
        assert is_silent(victim)


CLIENT = """
import os, socket, sys
asked, mine, user = sys.argv[1:]
os.setuid(int(user))
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.bind(mine)
client.settimeout(20)
client.connect(asked)
client.send(b"hello")
print(client.recv(100).decode())
"""


def run_client(address: str, mine: object, user: int, **how: Any) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", CLIENT, address, str(mine), str(user)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, **how)


def test_client_of_each_user_is_answered(server: Server, place: Path) -> None:
    need_root()
    address, events = server.add(Echo(), f"unixgram://{place}/s?mode=0666")
    for user in (OTHER, OTHER - 1, 0):
        with run_client(address, place / f"c{user}", user) as client:
            assert client.communicate(timeout=20)[0] == "hello\n"
    server.settle()
    assert events.counters.dropped == {}


def test_client_without_room_costs_no_other_client_an_answer(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with bound(tmp_path / "deaf") as deaf, bound(tmp_path / "c") as client:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            filler.connect(f"{tmp_path}/deaf")
            with pytest.raises(BlockingIOError):
                while True:
                    filler.send(b"x")

        def attempt() -> None:
            for one in (client, deaf, client, deaf, client):
                one.sendto(b"x", address)

        meanwhile(server, attempt)
        assert [client.recv(10) for _ in range(3)] == [b"x"] * 3
    assert events.counters.dropped == {"no_room": 2}


def test_relative_path_gets_no_answer(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with run_client(address, "c", os.getuid(), cwd=tmp_path) as client:
        until(lambda: events.counters.dropped == {"source_path": 1}, 20)
        client.kill()


def test_answer_that_the_client_does_not_let_netd_write_names_its_path_and_the_remedy(
    open_path: Path, log: list[dict[str, Any]]
) -> None:
    def ask() -> None:
        with Server() as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            server.add(Echo(), f"unixgram://{open_path}/d")
            client.bind(f"{open_path}/me")
            (open_path / "me").chmod(0)
            client.sendto(b"hello", f"{open_path}/d")
            until(lambda: log)
            [event] = log
            assert (event["event"], event["reason"]) == ("datagrams_dropped", "unsendable")
            assert (event["endpoint"], event["peer"]) == (f"unixgram://{open_path}/d", f"{open_path}/me")
            assert event["error"] == "Permission denied; the socket must be writable for the user of netd's workers"

    open_path.chmod(0o777)
    if os.geteuid() == 0:
        as_user(ALEX, ask)
    else:
        ask()


def test_client_in_a_folder_behind_a_link_is_answered(server: Server, tmp_path: Path) -> None:
    address, _ = server.add(Echo(), f"unixgram://{tmp_path}/s")
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("run")
    assert ask(address, b"x", tmp_path / "var") == b"x"


def test_client_with_an_abstract_name_or_an_odd_path_is_answered(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    assert ask(address, b"x") == b"x"
    for name in (b"\xff\n", b"\x1b[31m", b"x" * (106 - len(os.fsencode(tmp_path)))):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.bind(os.fsencode(tmp_path) + b"/" + name)
            client.sendto(b"x", address)
            assert client.recv(10) == b"x"
    server.settle()
    assert events.counters.dropped == {}


def test_datagram_without_credentials_is_answered_only_to_an_abstract_name(server: Server, tmp_path: Path) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    server.servers[-1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    assert ask(address, b"x") == b"x"
    with bound(tmp_path / "c") as client:
        client.sendto(b"x", address)
        until(lambda: events.counters.dropped == {"source_path": 1})
        assert is_silent(client)


def test_time_stamps_do_not_displace_the_credentials(server: Server, tmp_path: Path) -> None:
    [listener] = open_listeners([("test", Endpoint.parse(f"unixgram://{tmp_path}/s"))], lambda *skipped: None)
    listener.socket.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP, as Timestamping= of a socket unit sets it
    server.serve(Echo(), listener)
    assert ask(f"{tmp_path}/s", b"x", tmp_path) == b"x"


def test_post_goes_to_the_socket_of_the_sender_alone(server: Server, tmp_path: Path) -> None:
    board = Board()
    address, events = server.add(board, f"unixgram://{tmp_path}/s")
    mine = tmp_path / "c"
    with bound(tmp_path / "journal") as journal, bound(mine) as client:
        client.sendto(b"hello", address)
        assert client.recv(100) == b"in"
        [post] = board.posts
        assert post
        assert post(b"unasked")
        assert client.recv(100) == b"unasked"
        replaced(mine, lambda other: os.symlink(tmp_path / "journal", other))
        assert post(b"MESSAGE=root logged in")
        until(lambda: events.counters.dropped == {"source_path": 1})
        assert is_silent(journal)


def test_loop_with_a_unix_client_is_detected(server: Server, tmp_path: Path, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with bound(tmp_path / "c") as client:
        client.sendto(b"x", address)

        def exchange() -> bool:
            client.sendto(client.recv(100), address)
            return bool(events.counters.loops)

        while not exchange():
            pass
        assert client.recv(100) == b"x"
    server.settle()
    assert [(line["event"], line["peer"]) for line in log] == [("loop_detected", f"{tmp_path}/c")]


def test_trace_shows_the_sender_of_questions_and_answers(server: Server, tmp_path: Path) -> None:
    address, _ = server.add(Echo(), f"unixgram://{tmp_path}/s")
    one = tap()
    look(server, [one])
    with bound(tmp_path / "c") as client:
        client.sendto(b"x", address)
        assert client.recv(10) == b"x"
    server.settle()
    lines, _ = one.take()
    assert [line[1:3] for line in lines] == [("in", f"{tmp_path}/c"), ("out", f"{tmp_path}/c")]


CHROOTED = """
import codecs, os, socket, sys
from netd.endpoints import Endpoint
from netd.services.echo import Echo
from netd.transport.listen import open_listeners
from tests.support.server import Server
from tests.transport.datagram.test_unixgram import ATTACKS, bound, meanwhile
from pathlib import Path
codecs.lookup("unicode_escape")  # as a worker has it
with Server() as server:
    [listener] = open_listeners([("test", Endpoint.parse(f"unixgram://{sys.argv[1]}/s"))], lambda *skipped: None)
    os.chroot(sys.argv[1])
    os.chdir("/")
    events, address = server.serve(Echo(), listener), "/s"
    with bound("/c") as client:
        client.sendto(b"x", address)
        print(client.recv(10))

        def attempt():
            client.sendto(b"x", address)
            ATTACKS["symlink"](Path("/c"), address)

        meanwhile(server, attempt)
    server.settle()
    print(events.counters.datagrams_in, dict(events.counters.dropped))
"""


@pytest.mark.slow  # processes
def test_same_checks_hold_without_proc(tmp_path: Path) -> None:
    need_root()
    done = subprocess.run(
        [sys.executable, "-c", CHROOTED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("b'x'", "2 {'source_path': 1}"), done.stderr


LINKER = """
import os, socket, sys
asked, mine, user = sys.argv[1:]
os.setuid(int(user))
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.bind(mine)
client.sendto(b"loop", asked)
os.unlink(mine)
os.link(asked, mine)
"""


@pytest.mark.slow  # a daemon
def test_worker_answers_no_socket_of_its_own_netd(place: Path) -> None:
    """The user of the workers may own netd's sockets, so the owner does not tell them apart."""
    need_root()
    user = pwd.getpwnam("nobody").pw_uid
    config = f"services: {{echo: {{listen: ['unixgram://{place}/s?owner={user}']}}}}"
    with daemon(config, place) as running:
        os.kill(running.worker, signal.SIGSTOP)
        arguments = [sys.executable, "-c", LINKER, f"{place}/s", f"{place}/c", str(user)]
        subprocess.run(arguments, check=True, timeout=60)
        os.kill(running.worker, signal.SIGCONT)

        def counts() -> dict[str, Any]:
            return dict(running.ask("status")["services"][0]["counters"])

        until(lambda: counts()["datagrams_dropped"])
        assert (counts()["datagrams_dropped"], counts()["datagrams_received"]) == ({"source_path": 1}, 1)
