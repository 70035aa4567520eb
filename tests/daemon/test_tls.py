"""TLS of a real daemon, with the clients that people use."""

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.daemon.configs import write
from tests.daemon.processes import workers
from tests.support.certificates import Authority, Issued
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, need_root
from tests.support.tls import client_context
from tests.support.waiting import until

pytestmark = pytest.mark.slow

CONFIG = """
daemon: {workers: 2}
defaults: {tls: {certificate: $/server.pem, key: $/server.key}}
services:
  echo: {listen: [tls://127.0.0.1:0]}
  named:
    type: upper
    listen: [tls://127.0.0.1:0]
    tls: {certificate: [$/server.pem, $/other.pem], key: [$/server.key, $/other.key]}
  env:
    type: exec
    listen: [tls://127.0.0.1:0]
    tls: {client_ca: $/Test CA.pem, client: optional}
    options: {command: [/usr/bin/env]}
  metrics: {listen: [tls://127.0.0.1:0]}
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("server")
    made.issue("other", ("*.other.example",))
    return made


def config(directory: Path) -> str:
    return CONFIG.replace("$", str(directory))


def connect(running: Daemon, service: str, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    bare = socket.create_connection(("127.0.0.1", running.port(service, "tls")), 20)
    return context.wrap_socket(bare, server_hostname=name)


def serial(stream: ssl.SSLSocket) -> str:
    found: Any = stream.getpeercert()
    return str(found["serialNumber"])


def run(*words: object, said: str = "") -> str:
    done = subprocess.run([*map(str, words)], input=said, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counters(running: Daemon, name: str) -> dict[str, Any]:
    [service] = running.ask("status", f"service={name}")["services"]
    found: dict[str, Any] = service["counters"]
    return found


def test_clients_of_other_projects_are_served(tmp_path: Path, authority: Authority) -> None:
    person = authority.issue("alex", ("spiffe://example/alex",), client=True)
    openssl, curl, ncat = need("openssl"), need("curl"), need("ncat")
    with daemon(config(tmp_path), tmp_path) as running:
        trust = authority.certificate
        health = f"https://localhost:{running.port('metrics', 'tls')}/healthz"
        assert run(curl, "-sS", "--cacert", trust, health) == "healthy\n"
        port = running.port("echo", "tls")
        assert run(ncat, "--ssl-verify", "--ssl-trustfile", trust, "localhost", port, said="hello\n") == "hello\n"
        client = (openssl, "s_client", "-quiet", "-verify_return_error", "-CAfile", trust, "-servername", "localhost")
        at = ("-connect", f"127.0.0.1:{running.port('env', 'tls')}")
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            assert f"SSL_PROTOCOL={name}\n" in run(*client, version, *at)

        with connect(running, "env", client_context(authority, certificate=person)) as stream:
            found = dict(line.split("=", 1) for line in stream.makefile().read().splitlines())
        with connect(running, "env", client_context(authority)) as stream:
            assert "SSL_CLIENT_VERIFY=NONE\n" in stream.makefile().read()
        assert found["HTTPS"] == "on"
        assert (found["SSL_PROTOCOL"], found["SSL_TLS_SNI"], found["SSL_CLIENT_VERIFY"]) == (
            "TLSv1.3",
            "localhost",
            "SUCCESS",
        )
        assert (found["SSL_CLIENT_S_DN"], found["SSL_CLIENT_SAN_URI_0"]) == ("CN=alex", "spiffe://example/alex")
        assert found["SSL_CLIENT_FINGERPRINT"] == person.fingerprint
        assert found["TCPREMOTEIP"] == "127.0.0.1"

        with connect(running, "named", client_context(authority), "www.other.example") as stream:
            stream.sendall(b"hello\n")
            assert stream.recv(10) == b"HELLO\n"
        plain = subprocess.run(
            [curl, "-sS", health.replace("https", "http")], capture_output=True, text=True, check=False
        )
        assert plain.returncode
        failed = running.event("handshake_failed")
        assert (failed["service"], failed["reason"], failed["source"]) == ("metrics", "plain_text", "127.0.0.1")
        until(lambda: counters(running, "metrics")["tls_handshakes_failed"] == {"plain_text": 1})
        assert running.stop() == 0


def test_client_needs_a_certificate_that_a_rule_names(tmp_path: Path, authority: Authority) -> None:
    allowed = authority.issue("allowed", ("web.ops.example",), client=True)
    other = authority.issue("other client", ("web.ops.example.test",), client=True)
    revoked = authority.issue("revoked", ("db.ops.example",), client=True)
    rules = f"""
services:
  echo:
    listen: [tls://127.0.0.1:0]
    tls:
      certificate: {tmp_path}/server.pem
      key: {tmp_path}/server.key
      client_ca: {authority.certificate}
      crl: {authority.revoke(revoked)}
      client: required
    access: {{allow: [127.0.0.0/8, 'san:dns:*.ops.example']}}
"""

    def answer(certificate: Issued | None) -> bytes:
        with connect(running, "echo", client_context(authority, certificate=certificate)) as stream:
            stream.sendall(b"hello\n")
            return stream.recv(10)

    with daemon(rules, tmp_path) as running:
        assert answer(allowed) == b"hello\n"
        assert answer(other) == b""
        refused = running.event("connection_refused")
        assert (refused["reason"], refused["certificate"]) == ("certificate", other.fingerprint)
        assert (refused["subject"], refused["names"]) == ("CN=other client", "dns:web.ops.example.test")
        for certificate in (revoked, None):
            with pytest.raises(ssl.SSLError, match="alert"):
                answer(certificate)
        until(lambda: counters(running, "echo")["tls_handshakes_failed"] == {"certificate": 2})
        (tmp_path / "netd.yaml").write_text(rules.replace("*.ops.example", "*.ops.example.test"))
        assert running.netd("reload").returncode == 0
        assert (answer(allowed), answer(other)) == (b"", b"hello\n")


def test_reload_takes_renewed_files_and_touches_no_connection(tmp_path: Path, authority: Authority) -> None:
    context = client_context(authority)
    with daemon(config(tmp_path), tmp_path) as running, connect(running, "echo", context) as before:
        before.sendall(b"x")
        assert before.recv(1) == b"x"
        assert "renewed" not in running.netd("diff").stdout
        authority.issue("server", days=(-1, 300))
        shown = running.netd("diff").stdout
        assert "tls: renewed files" in shown
        assert running.netd("reload").returncode == 0
        with connect(running, "echo", context) as after:
            assert serial(after) != serial(before)
        with connect(running, "metrics", context) as after:
            assert serial(after) != serial(before)
            with connect(running, "named", context, "a.other.example") as other:
                assert serial(other) not in (serial(before), serial(after))
        before.sendall(b"y")
        assert before.recv(1) == b"y"

        (tmp_path / "server.key").write_bytes((tmp_path / "other.key").read_bytes())
        refused = running.netd("reload")
        assert refused.returncode == 78
        assert "the key is not that of the certificate" in refused.stderr
        before.sendall(b"z")
        assert before.recv(1) == b"z"
        with connect(running, "echo", context) as after:
            assert serial(after) != serial(before)

        write(tmp_path, config(tmp_path).replace("echo: {listen: [tls:", "echo: {listen: [tcp:"))
        authority.issue("server")
        assert running.netd("reload").returncode == 0
        with socket.create_connection(("127.0.0.1", running.port("echo", "tls")), 20) as plain:
            plain.sendall(b"plain")
            assert plain.recv(5) == b"plain"
        before.sendall(b"!")
        assert before.recv(1) == b"!"


def test_only_workers_have_a_key_in_their_memory(tmp_path: Path, authority: Authority) -> None:
    """Launchers are forks of the supervisor, which has read the config before."""
    need_root()  # to read the memory of other processes
    key = (tmp_path / "server.key").read_bytes()
    secret = load_pem_private_key(key, None)
    assert isinstance(secret, EllipticCurvePrivateKey)
    number = secret.private_numbers().private_value
    said = [number.to_bytes(32, "big"), number.to_bytes(32, "little"), key.splitlines()[1]]
    with daemon(config(tmp_path), tmp_path) as running:
        netd = running.process.pid
        assert running.netd("reload").returncode == 0
        children = Path(f"/proc/{netd}/task/{netd}/children")
        until(lambda: len(children.read_text().split()) == 3)  # two workers and a launcher; those that read are gone
        processes = [netd, *map(int, children.read_text().split())]
        assert {one for one in processes if any(map(memory_of(one).__contains__, said))} == set(workers(running))


def memory_of(process: int) -> bytes:
    """All that a process has written, but for what is mapped from files."""
    areas = [line.split() for line in Path(f"/proc/{process}/maps").read_text().splitlines()]
    found = []
    with open(f"/proc/{process}/mem", "rb", 0) as memory:
        for place, rights, _, _, _, *name in areas:
            if rights.startswith("rw") and not (name and name[0].startswith(("/", "[v"))):
                start, end = (int(one, 16) for one in place.split("-"))
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)
