"""What a reload does with listeners: it opens and closes them, and passes them on, and no client is lost."""

import contextlib
import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.daemon.clients import echoed, refused, talking
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import free_port, read_exactly
from tests.support.waiting import until


@pytest.mark.slow
def test_endpoint_may_widen_narrow_and_pass_to_another_service(tmp_path: Path) -> None:
    port = free_port()
    narrow = f"services:\n  echo: {{listen: [tcp://127.0.0.1:{port}, udp://127.0.0.1:{port}]}}\n"
    wide = f"services:\n  echo: {{listen: [tcp://*:{port}, udp://*:{port}]}}\n"
    other = f"services:\n  upper: {{listen: [tcp://*:{port}?backlog=7, udp://*:{port}]}}\n"
    with daemon(narrow, tmp_path) as running, talking(port) as live:
        for text, answer in ((wide, b"x\n"), (other, b"X\n"), (narrow, b"x\n"), (wide, b"x\n")):
            write(tmp_path, text)
            done = running.netd("reload")
            assert done.returncode == 0, done.stderr
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"x\n")
                assert read_exactly(connection, 2) == answer
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", port))
                client.send(b"x\n")
                assert client.recv(10) == answer
        echoed(live, b"still\n")


@pytest.mark.slow
def test_paths_of_unix_sockets_are_made_and_removed_with_them(tmp_path: Path) -> None:
    config = 'services:\n  echo: {{listen: ["unix://{0}/{1}?mode={2}"]}}\n'
    with daemon(config.format(tmp_path, "a", "0600"), tmp_path) as running:
        write(tmp_path, config.format(tmp_path, "a", "0666"))
        inode = (tmp_path / "a").stat().st_ino
        assert running.netd("reload").returncode == 0
        assert ((tmp_path / "a").stat().st_ino, (tmp_path / "a").stat().st_mode & 0o777) == (inode, 0o666)
        write(tmp_path, config.format(tmp_path, "b", "0666"))
        assert running.netd("reload").returncode == 0
        assert not (tmp_path / "a").exists()
        with talking(f"{tmp_path}/b"):
            pass
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_socket_that_lost_its_file_is_there_again_after_a_reload(tmp_path: Path) -> None:
    config = f'services:\n  echo: {{listen: ["unix://{tmp_path}/s", "unixgram://{tmp_path}/d?mode=0600"]}}\n'
    with daemon(config, tmp_path) as running, talking(f"{tmp_path}/s") as live:
        (tmp_path / "s").unlink()
        (tmp_path / "d").unlink()
        done = running.netd("reload")
        assert done.returncode == 0, done.stderr
        with talking(f"{tmp_path}/s"):
            echoed(live, b"still\n")
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o600
        (tmp_path / "s").unlink()
        (tmp_path / "s").write_text("another file")
        assert running.netd("reload").returncode == 0
        failed = running.event("options_failed")
        assert (failed["endpoint"], failed["error"]) == (f"unix://{tmp_path}/s", "another file has taken its place")
        assert not {"d"} - {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "s").read_text() == "another file"


def waiting(running: Daemon, directory: Path, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Clients of ``echo`` that wait in the queues of its sockets, which the stopped worker does not read."""
    os.kill(running.worker, signal.SIGSTOP)
    clients = []
    for number in range(200):  # more than are served in two turns of the loop
        for scheme, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            client = stack.enter_context(socket.socket(socket.AF_INET, kind))
            client.connect(("127.0.0.1", running.port("echo", scheme)))
            clients.append(client)
        if number < 10:  # net.unix.max_dgram_qlen
            for name, kind in (("s", socket.SOCK_STREAM), ("d", socket.SOCK_DGRAM)):
                client = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                client.bind(f"{directory}/{name}{number}")
                (directory / f"{name}{number}").chmod(0o666)
                client.connect(f"{directory}/{name}")
                clients.append(client)
    for client in clients:
        client.settimeout(20)
        client.send(b"hello")
    return clients


EVERY_TRANSPORT = "tcp://127.0.0.1:0, udp://127.0.0.1:0, 'unix://{0}/s', 'unixgram://{0}/d'"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["disable", "stop"])
def test_peers_in_the_queues_are_served_by_a_listener_that_is_closed(open_path: Path, how: str) -> None:
    open_path.chmod(0o777)
    config = f"services:\n  echo: {{listen: [{EVERY_TRANSPORT.format(open_path)}]}}\n"
    with daemon(config, open_path) as running, contextlib.ExitStack() as stack:
        clients = waiting(running, open_path, stack)
        ending = threading.Thread(target=running.ask, args=("disable", "echo") if how == "disable" else ("stop",))
        ending.start()
        if how == "stop":
            running.event("drain_started")
        os.kill(running.worker, signal.SIGCONT)
        ending.join()
        assert {client.recv(10) for client in clients} == {b"hello"}
        until(lambda: refused(running.port("echo")))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_address_that_moves_under_load_loses_no_connection_and_no_datagram(tmp_path: Path, workers: int) -> None:
    port = free_port()
    config = f"daemon: {{{{workers: {workers}}}}}\nservices:\n  echo: {{{{listen: ['tcp://{{0}}', 'udp://{{0}}']}}}}\n"
    places = [place.format(port) for place in ("*:{}", "127.0.0.1:{}", "localhost:{}", "0.0.0.0:{}")]
    failures: list[BaseException] = []
    enough = threading.Event()
    done = [0, 0]

    def ask(number: int, kind: socket.SocketKind) -> None:
        while not enough.is_set():
            try:
                with socket.socket(socket.AF_INET, kind) as client:
                    client.settimeout(20)
                    client.connect(("127.0.0.1", port))
                    client.send(b"x")
                    assert client.recv(9) == b"x"
                    done[number] += 1
            except BaseException as error:
                failures.append(error)

    with daemon(config.format(places[0]), tmp_path) as running:
        threads = [
            threading.Thread(target=ask, args=one)
            for one in [(0, socket.SOCK_STREAM), (0, socket.SOCK_STREAM), (1, socket.SOCK_DGRAM)]
        ]
        for thread in threads:
            thread.start()
        try:
            for place in [*places[1:], *places, places[1]]:
                write(tmp_path, config.format(place))
                assert running.ask("reload")["ok"]
                before = list(done)
                until(lambda before=before: failures or all(map(int.__gt__, done, before)), 30)  # type: ignore[misc]
        finally:
            enough.set()
            for thread in threads:
                thread.join()
        assert failures == []


@pytest.mark.slow
def test_reload_opens_a_privileged_port_though_the_workers_have_no_rights(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running:
        port = next(port for port in range(1023, 600, -1) if refused(port))
        write(tmp_path, config + f"  upper: {{listen: [tcp://127.0.0.1:{port}]}}\n")
        assert running.netd("reload").returncode == 0
        assert "\nUid:\t65534\t" in Path(f"/proc/{running.worker}/status").read_text()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"x\n")
            assert read_exactly(connection, 2) == b"X\n"
