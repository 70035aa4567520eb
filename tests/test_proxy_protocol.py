"""HAProxy, nginx and curl in front of services, with headers of the PROXY protocol that name their clients."""

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.peer import Peer
from netd.transport.stream.proxy_header import proxy_header
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started
from tests.support.sockets import free_port, read_all
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon, and checks at intervals

CONFIG = """
defaults: {access: {deny: [127.0.0.66, 127.0.0.1]}}
x-behind: &behind {from: [127.0.0.1]}
services:
  check:   {listen: ["tcp://127.0.0.1:0"], proxy_protocol: *behind, options: {command: [/usr/bin/true]}}
  env:     {type: exec, listen: ["tcp://127.0.0.1:0"], proxy_protocol: *behind, options: {command: [/usr/bin/env]}}
  metrics: {listen: ["tcp://127.0.0.1:0"], proxy_protocol: *behind}
  whoami:
    listen: ["tcp://127.0.0.1:0", "unix://{own}/whoami"]
    proxy_protocol: *behind
    refuse: {line: "421 no"}
  local:   {type: whoami, listen: ["unix://{own}/local"], proxy_protocol: {from: [local]}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    own = tmp_path_factory.mktemp("n")
    with daemon(CONFIG.replace("{own}", str(own)), own) as process:
        yield process


HAPROXY = """
global
  stats socket {own}/stats mode 600
  unix-bind mode 600
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 5s
  default-server inter 50ms fall 1 rise 1
frontend v1
  bind 127.0.0.1:{v1}
  bind {own}/v1
  default_backend v1
backend v1
  server s 127.0.0.1:{whoami} send-proxy check check-send-proxy
frontend v2
  bind 127.0.0.1:{v2}
  bind {own}/v2
  default_backend v2
backend v2
  server s 127.0.0.1:{whoami} send-proxy-v2 check check-send-proxy
frontend text
  bind 127.0.0.1:{text}
  default_backend text
backend text
  server s 127.0.0.1:{env} send-proxy
frontend facts
  bind 127.0.0.1:{facts}
  unique-id-format id-%ci
  default_backend facts
backend facts
  server s 127.0.0.1:{env} send-proxy-v2 proxy-v2-options crc32c,unique-id check check-send-proxy
backend http
  option httpchk GET /
  server s 127.0.0.1:{check} check check-send-proxy send-proxy
backend http2
  option httpchk GET /
  server s 127.0.0.1:{check} check check-send-proxy send-proxy-v2
backend none
  option httpchk GET /
  server s 127.0.0.1:{check} check
"""


class Ports(dict[str, int]):
    """The ports of a proxy, by name, and its directory."""

    own: Path


@pytest.fixture(scope="module")
def haproxy(running: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    ports = Ports({name: free_port() for name in ("v1", "v2", "text", "facts")})
    ports.own = own = tmp_path_factory.mktemp("h")
    services = {name: running.port(name) for name in ("check", "env", "whoami")}
    (own / "haproxy.cfg").write_text(HAPROXY.format(own=own, **services, **ports))
    with started(need("haproxy"), "-db", "-q", "-f", own / "haproxy.cfg", stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or ((own / "stats").exists() and (own / "v2").exists()))
        assert process.poll() is None
        for backend in ("v1", "v2", "facts"):
            until(lambda backend=backend: "L4OK" in status(own, backend))  # type: ignore[misc]
        yield ports


def status(own: Path, backend: str) -> str:
    """The line of HAProxy about the server of a backend."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(own / "stats"))
        connection.sendall(b"show stat\n")
        lines = connection.makefile(encoding="ascii").read().splitlines()
    return next(line for line in lines if line.startswith(f"{backend},s,"))


def ask(port: int, source: str) -> tuple[str, str]:
    """The address of this client of a proxy, and the answer."""
    with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as client:
        host, number = client.getsockname()
        return f"{host}:{number}", read_all(client).decode()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_client_of_haproxy_is_the_peer(running: Daemon, haproxy: Ports, version: str) -> None:
    client, answer = ask(haproxy[version], "127.0.0.9")
    assert answer.startswith(
        f"peer={client} local=127.0.0.1:{haproxy[version]} transport=tcp family=ipv4 via=127.0.0.1:"
    )
    while (line := running.event("connection_closed"))["peer"] != client:
        pass
    assert line["via"].startswith("127.0.0.1:")
    assert ask(haproxy[version], "127.0.0.66")[1] == "421 no\r\n"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_client_without_an_address_leaves_the_proxy(haproxy: Ports, version: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(haproxy.own / version))
        assert read_all(client).startswith(b"peer=127.0.0.1:")


def test_program_is_told_what_haproxy_says(haproxy: Ports) -> None:
    client, answer = ask(haproxy["facts"], "127.0.0.9")
    told = dict(line.split("=", 1) for line in answer.splitlines())
    host, _, port = client.partition(":")
    assert (told["REMOTE_ADDR"], told["TCPREMOTEIP"], told["REMOTE_PORT"]) == (host, host, port)
    assert (told["TCPLOCALIP"], told["TCPLOCALPORT"]) == ("127.0.0.1", str(haproxy["facts"]))
    assert told["PROXY_UNIQUE_ID"] == "id-127.0.0.9"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", told["PROXY_VIA"])


def test_program_behind_version_1_has_the_client(haproxy: Ports) -> None:
    client, answer = ask(haproxy["text"], "127.0.0.9")
    told = dict(line.split("=", 1) for line in answer.splitlines())
    assert f"{told['REMOTE_ADDR']}:{told['REMOTE_PORT']}" == client
    assert told["PROXY_VIA"].startswith("127.0.0.1:")
    assert "PROXY_UNIQUE_ID" not in told


@pytest.mark.parametrize(("backend", "wanted"), [("http", "L7OK"), ("http2", "L7OK")])
def test_check_of_haproxy_with_a_header_succeeds(haproxy: Ports, backend: str, wanted: str) -> None:
    until(lambda: wanted in status(haproxy.own, backend))


def test_check_of_haproxy_without_a_header_fails(haproxy: Ports) -> None:
    until(lambda: ",DOWN," in status(haproxy.own, "none"))


TLS = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend tls
  bind {own}/plain
  bind 127.0.0.1:{port} ssl crt {own}/server.pem ca-file {own}/ca.pem verify optional
  default_backend tls
backend tls
  server s 127.0.0.1:{env} send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c
"""


def test_program_is_told_of_tls_at_the_proxy(running: Daemon, tmp_path: Path) -> None:
    openssl, port = need("openssl"), free_port()
    for name in ("ca", "server"):
        command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}.example"
        subprocess.run(
            [openssl, *command.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
            check=True,
            capture_output=True,
        )
        (tmp_path / f"{name}.pem").write_text((tmp_path / "certificate").read_text() + (tmp_path / "key").read_text())
    (tmp_path / "haproxy.cfg").write_text(TLS.format(own=tmp_path, port=port, env=running.port("env")))
    with started(need("haproxy"), "-db", "-q", "-f", tmp_path / "haproxy.cfg", stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or (tmp_path / "plain").exists())
        assert process.poll() is None
        words = f"s_client -connect 127.0.0.1:{port} -bind 127.0.0.9:0 -quiet -servername www.example.com".split()
        done = subprocess.run(
            [openssl, *words, "-cert", tmp_path / "ca.pem", "-key", tmp_path / "ca.pem"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert (told.get("SSL_TLS_SNI"), told.get("SSL_PROTOCOL")) == ("www.example.com", "TLSv1.3"), done
    assert told["SSL_CIPHER"].startswith("TLS_")
    assert told["SSL_PEER_CERT_SUBJECT_CN"] == "ca.example"


NGINX = """
load_module {module};
daemon off;
master_process off;
pid {own}/pid;
error_log {own}/error.log;
events {{}}
stream {{
  server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{whoami}; proxy_protocol on; }}
  server {{ listen 127.0.0.1:{unix}; proxy_pass unix:{path}; proxy_protocol on; }}
  server {{ listen 127.0.0.1:{program}; proxy_pass 127.0.0.1:{env}; proxy_protocol on; }}
}}
"""
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


def test_client_of_nginx_is_the_peer(running: Daemon, tmp_path: Path) -> None:
    program, ports = need("nginx", MODULE), (free_port(), free_port(), free_port())
    names = {"port": ports[0], "unix": ports[1], "whoami": running.port("whoami"), "path": path(running, "local")}
    names |= {"program": ports[2], "env": running.port("env")}
    (tmp_path / "nginx.conf").write_text(NGINX.format(own=tmp_path, module=MODULE, **names))
    with started(program, "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf") as process:
        until(lambda: process.poll() is not None or (tmp_path / "pid").exists())
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        for port in ports[:2]:
            client, answer = ask(port, "127.0.0.9")
            assert answer.startswith(f"peer={client} local=127.0.0.1:{port} transport=tcp "), answer
        assert ask(ports[0], "127.0.0.66")[1] == "421 no\r\n"
        client, answer = ask(ports[2], "127.0.0.9")
        assert f"REMOTE_ADDR={client.partition(':')[0]}" in answer.splitlines()
        assert f"REMOTE_PORT={client.partition(':')[2]}" in answer.splitlines()


def path(running: Daemon, service: str) -> str:
    return running.url(service, "unix").removeprefix("unix://")


@pytest.mark.parametrize("service", ["metrics", "check"])
def test_curl_sends_a_header(running: Daemon, service: str) -> None:
    url = f"http://127.0.0.1:{running.port(service)}/healthz"
    command = [need("curl"), "-sS", "--max-time", "20", "-o", "-", "-w", "%{http_code}", url]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert plain.returncode != 0, "a request is no header"
    named = subprocess.run([*command, "--haproxy-protocol"], capture_output=True, text=True, check=False)
    assert (named.returncode, named.stdout[-3:]) == (0, "200"), named


HEADER = proxy_header(2, Peer("tcp", "192.0.2.7", 4711, "198.51.100.1", 443))


def test_reload_with_proxies_holds_for_new_connections(tmp_path: Path) -> None:
    text = "services:\n  upper: {listen: ['tcp://127.0.0.1:0'], proxy_protocol: null}\n"
    with daemon(text, tmp_path) as running:
        address = ("127.0.0.1", running.port("upper"))
        with socket.create_connection(address, 20) as before:
            before.sendall(b"a")
            assert before.recv(1) == b"A"
            (tmp_path / "netd.yaml").write_text(text.replace("null", "{from: [127.0.0.2, local]}"))
            assert 'proxy_protocol: null -> {"from": ["127.0.0.2", "local"]}' in running.netd("diff").stdout
            assert running.netd("reload").returncode == 0
            before.sendall(b"b")
            assert before.recv(1) == b"B"
        with socket.create_connection(address, 20) as after:
            after.sendall(HEADER + b"c")
            assert after.recv(1) == b"C"
            rows = {row["peer"]: row for row in running.ask("connections")["connections"]}
            assert rows["192.0.2.7:4711"]["via"] == "{}:{}".format(*after.getsockname())
            [line] = [line for line in running.netd("kick", "--peer", "192.0.2.7").stdout.splitlines() if line]
            assert after.recv(1) == b"", line
        (tmp_path / "netd.yaml").write_text(text.replace("null", "{from: [127.0.0.2], versions: [2], others: direct}"))
        assert running.netd("reload").returncode == 0
        with socket.create_connection(address, 20) as own:
            own.sendall(HEADER)
            assert own.recv(100) == HEADER.upper()
            assert ["via" in row for row in running.ask("connections")["connections"]] == [False]
        (tmp_path / "netd.yaml").write_text(text.replace("null", "{from: [127.0.0.2]}"))
        assert running.netd("reload").returncode == 0
        with socket.create_connection(address, 20) as other, contextlib.suppress(ConnectionResetError):
            assert other.recv(1) == b""
        assert running.refusals("upper") == 1


def test_program_has_the_address_of_a_proxy_that_names_no_client(running: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", running.port("env")), 20) as client:
        client.sendall(proxy_header(2, None))
        told = read_all(client).decode().splitlines()
        assert f"REMOTE_PORT={client.getsockname()[1]}" in told
        assert "REMOTE_ADDR=127.0.0.1" in told
