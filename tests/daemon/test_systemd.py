"""Socket activation and the watchdog. The tests stand in for the service manager."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netd.daemon import systemd
from tests.daemon.activator import ACTIVATOR
from tests.support.sockets import read_exactly


def launch(config: Path, *sockets: tuple[str, socket.socket]) -> "subprocess.Popen[str]":
    """Start netd with these sockets, each under its name, as a service manager does."""
    handed = [opened.fileno() for _, opened in sockets]
    return subprocess.Popen(
        [sys.executable, "-c", ACTIVATOR, sys.executable, "-m", "netd", "run", "-c", str(config)],
        pass_fds=sorted(set(handed)),
        env={
            **os.environ,
            "HANDED": " ".join(map(str, handed)),
            "LISTEN_FDS": str(len(handed)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_sockets_of_the_service_manager_are_served_and_outlive_netd(tmp_path: Path) -> None:
    stream, datagram, unix = (
        socket.socket(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX),
    )
    stream.bind(("127.0.0.1", 0))
    stream.listen()
    datagram.bind(("127.0.0.1", 0))
    unix.bind(f"{tmp_path}/s")
    unix.listen()
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{control: {tmp_path}/c}}\nservices:\n"
        "  echo: {listen: [systemd://echo]}\n  upper: {listen: [systemd://upper.socket]}\n"
    )
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    netd = launch(
        tmp_path / "netd.yaml",
        ("echo", stream),
        ("echo", datagram),
        ("upper.socket", unix),
        ("other", stream),
        ("netlink", netlink),
    )
    try:
        for kind, address in ((socket.SOCK_STREAM, stream.getsockname()), (socket.SOCK_DGRAM, datagram.getsockname())):
            with socket.socket(socket.AF_INET, kind) as client:
                client.settimeout(20)
                client.connect(address)
                client.send(b"hello")
                assert client.recv(10) == b"hello"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{tmp_path}/s")
            client.sendall(b"hello\n")
            assert read_exactly(client, 6) == b"HELLO\n"
    finally:
        netd.terminate()
        _, log = netd.communicate(timeout=20)
    assert netd.returncode == 0
    unclaimed = [line for line in map(json.loads, log.splitlines()) if line["event"] == "socket_unclaimed"]
    assert [line["name"] for line in unclaimed] == ["other", "netlink"]
    assert unclaimed[0]["endpoint"] == "tcp://{}:{}".format(*stream.getsockname())
    assert "(AF_NETLINK, SOCK_RAW, protocol 0)" in unclaimed[1]["endpoint"]
    assert (tmp_path / "s").exists(), "the service manager owns it"
    with socket.create_connection(stream.getsockname()):
        pass  # it still listens
    for opened in (stream, datagram, unix, netlink):
        opened.close()


@pytest.mark.slow
def test_service_with_a_connection_of_the_service_manager_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{control: {tmp_path}/c}}\nservices:\n  echo: {{listen: [systemd://echo]}}\n"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        netd = launch(tmp_path / "netd.yaml", ("echo", accepted))
        _, log = netd.communicate(timeout=20)
    assert netd.returncode == 71
    assert json.loads(log.splitlines()[-1])["problem"] == (
        f"{tmp_path}/netd.yaml:3:19: services.echo.listen[0]: cannot listen on systemd://echo: the service manager "
        "passed a connection; netd takes the listening socket (Accept=no in its unit)"
    )


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 0),
        ({"LISTEN_FDS": "1"}, 0),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, 0),
        ({"LISTEN_FDS": "many", "LISTEN_PID": "me"}, 0),
    ],
)
def test_sockets_for_another_process_are_ignored(
    environment: dict[str, str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value.replace("me", str(os.getpid())))
    assert len(systemd.inherited()) == number
    assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} & os.environ.keys()


def test_watchdog_interval_of_another_process_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert systemd.watchdog_interval() == 3.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval() == 3.0
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert systemd.watchdog_interval() is None


def test_user_is_dynamic_in_the_range_of_systemd_under_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 61500)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.has_dynamic_user()
    monkeypatch.setenv("NOTIFY_SOCKET", "@notify")
    assert systemd.has_dynamic_user()
    monkeypatch.setattr("os.geteuid", lambda: 990)
    assert not systemd.has_dynamic_user()
