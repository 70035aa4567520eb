"""Connections that a real daemon passes on to targets over TLS."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.configs import write
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, need_root
from tests.support.sockets import read_all
from tests.support.tls import client_context
from tests.support.tls_server import echo, server_context, tls_server
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def config(port: int, **to_tls: Any) -> str:
    services = {
        name: {"type": "forward", "listen": ["tcp://127.0.0.1:0"], "options": {"to": [f"tls://{host}:{port}"], **more}}
        for name, host, more in (
            ("verified", "127.0.0.1", {"to_tls": to_tls, "check": {"every": "100ms", "rise": 1, "fall": 1}}),
            ("wrong", "127.0.0.1", {"to_tls": {**to_tls, "name": "other.example"}}),
            ("any", "localhost", {"to_tls": {"verify": False}}),
            ("trusted", "localhost", {}),
        )
    }
    return json.dumps({"services": services})


def said(running: Daemon, service: str) -> bytes:
    """What comes back of an octet through a service."""
    with socket.create_connection(("127.0.0.1", running.port(service)), 20) as client:
        client.sendall(b"x")
        with contextlib.suppress(OSError):  # ENOTCONN, where the reset is there already, as the next call says
            client.shutdown(socket.SHUT_WR)
        return read_all(client)


def test_targets_are_verified_with_files_that_the_workers_cannot_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    own = authority.issue("netd", ("netd",), client=True)
    authority.certificate.chmod(0o600)
    seen: list[Any] = []

    def serve(connection: ssl.SSLSocket) -> None:
        seen.append(connection.getpeercert(binary_form=True))
        echo(connection)

    context = server_context(authority.issue("server"))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    with tls_server(context, serve) as port:
        files = {"ca": str(authority.certificate), "certificate": str(own.certificate), "key": str(own.key)}
        with daemon(config(port, **files), tmp_path) as running:
            assert [one["service"] for one in running.lines if one["event"] == "targets_unverified"] == ["any"]
            assert said(running, "any") == b"x"
            assert None in seen
            assert said(running, "verified") == b"x"
            own_der = ssl.PEM_cert_to_DER_cert(own.certificate.read_text())
            assert own_der in seen
            until(lambda: running.ask("target", "verified")["targets"][0]["state"] == "up")
            for service, why in (("wrong", "Hostname mismatch"), ("trusted", "self-signed certificate")):
                with pytest.raises(ConnectionError):
                    said(running, service)
                failed = running.event("target_failed")
                assert (failed["service"], failed["reason"]) == (service, "tls")
                assert why in failed["error"]
            other = Authority(tmp_path, "other")
            other.certificate.rename(authority.certificate)
            write(tmp_path, config(port, **files))
            assert running.netd("reload").returncode == 0
            assert running.event("target_check_failed")["reason"] == "tls"
            with pytest.raises(ConnectionError):
                said(running, "verified")


@contextlib.contextmanager
def forwarding(port: int, ca: Path, directory: Path, **checks: dict[str, Any]) -> Iterator[Daemon]:
    """Services that forward to this port over TLS, with these checks."""
    options = {"to": [f"tls://127.0.0.1:{port}"], "to_tls": {"ca": str(ca)}}
    services = {
        name: {"type": "forward", "listen": ["tcp://127.0.0.1:0"], "options": {**options, **check}}
        for name, check in checks.items()
    }
    with daemon(json.dumps({"services": services}), directory) as running:
        yield running


def test_target_that_refuses_after_its_handshake_is_told_with_its_reason(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    context = server_context(authority.issue("server"), str(authority.certificate))  # it demands one of clients
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # by which a client has done its handshake before the answer
    often = {"every": "100ms", "fall": 1}
    checks = {"web": {}, "checked": {"check": often}, "asked": {"check": {**often, "send": "x"}}}
    with tls_server(context, echo) as port, forwarding(port, authority.certificate, tmp_path, **checks) as running:
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", running.port("web")), 20) as client:
            client.recv(1)
        told = running.event("target_tls_failed")
        assert (told["service"], told["target"]) == ("web", f"tls://127.0.0.1:{port}")
        assert "certificate required" in told["error"]
        failed = [running.event("target_check_failed") for _ in range(2)]
        assert {one["service"] for one in failed} == {"checked", "asked"}
        for one in failed:
            assert (one["reason"], "certificate required" in one["error"]) == ("tls", True)
            assert state(running, one["service"]) == "down"


@pytest.mark.parametrize("tickets", [0, 2])
def test_target_that_says_nothing_after_its_handshake_is_up(tmp_path: Path, tickets: int) -> None:
    authority = Authority(tmp_path, "ca")
    context = server_context(authority.issue("server"))
    context.num_tickets = tickets
    checks = {"web": {"check": {"every": "100ms", "fall": 1}}}
    accepted = threading.Semaphore(0)

    def serve(connection: ssl.SSLSocket) -> None:
        accepted.release()
        echo(connection)

    with tls_server(context, serve) as port, forwarding(port, authority.certificate, tmp_path, **checks) as running:
        assert all(accepted.acquire(timeout=20) for _ in range(3)), "a check begins once the one before is over"
        assert state(running, "web") == "up"


def state(running: Daemon, service: str) -> str:
    """Of the target of a service."""
    return str(running.ask("target", service)["targets"][0]["state"])


def test_workers_in_a_chroot_speak_tls_and_verify_with_the_authorities_of_the_host(
    tmp_path: Path, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    need("unshare", "mount")
    authority = Authority(tmp_path, "ca")
    server = authority.issue("server")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))  # of root alone, as all here
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    jail = open_path / "jail"
    (jail / "proc").mkdir(parents=True)
    with_proc = ("unshare", "--mount", "sh", "-c", f'mount --rbind /proc {jail}/proc && exec "$@"', "sh")
    with tls_server(server_context(server)) as port:
        web = {
            "type": "forward",
            "listen": ["tls://127.0.0.1:0"],
            "tls": {"certificate": str(server.certificate), "key": str(server.key)},
            "options": {"to": [f"tls://127.0.0.1:{port}"]},
        }
        text = json.dumps({"daemon": {"chroot": str(jail)}, "services": {"web": web}})
        with daemon(text, tmp_path, command=with_proc) as running:
            assert Path(f"/proc/{running.worker}/root").readlink() == jail
            bare = socket.create_connection(("127.0.0.1", running.port("web", "tls")), 20)
            with client_context(authority).wrap_socket(bare, server_hostname="localhost") as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
            assert (
                "the root directory of the workers (daemon.chroot) has no /proc"
                in (running.event("start_failed")["problem"])
            )
