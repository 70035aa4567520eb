"""HAProxy and nginx as targets, which learn the client from the PROXY protocol."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import daemon
from tests.support.programs import need, started
from tests.support.sockets import free_port, read_all
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen target
  bind 127.0.0.1:{port} accept-proxy
  bind {own}/ready
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"
"""

NGINX = """
daemon off;
master_process off;
pid {own}/ready;
error_log {own}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {own}; proxy_temp_path {own}; fastcgi_temp_path {own};
  uwsgi_temp_path {own}; scgi_temp_path {own};
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    location / {{
      return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
    }}
  }}
}}
"""


def ask(family: socket.AddressFamily, address: Any) -> tuple[str, str]:
    """The address of a client that finishes sending with its request, and the body of the answer."""
    with socket.socket(family) as client:
        client.settimeout(20)
        client.connect(address)
        own = "" if family == socket.AF_UNIX else "{}:{}".format(*client.getsockname())
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client).decode()
        assert " 200 " in answer.partition("\r\n")[0], answer
        return own, answer.partition("\r\n\r\n")[2]


@pytest.mark.parametrize("program", ["haproxy", "nginx"])
def test_target_learns_the_client_from_the_header(program: str, tmp_path: Path) -> None:
    text, port = HAPROXY if program == "haproxy" else NGINX, free_port()
    file = tmp_path / "config"
    file.write_text(text.format(own=tmp_path, port=port))
    command = [need(program), *(["-db", "-f", file] if program == "haproxy" else ["-e", tmp_path / "log", "-c", file])]
    listeners = {"v4": "tcp://127.0.0.1:0", "v6": "tcp://[::1]:0", "unix": "unix://{}/{}"}
    services = {
        f"{family}-{version}": {
            "type": "forward",
            "listen": [url.format(tmp_path, version)],
            "options": {"to": [f"tcp://127.0.0.1:{port}"], "proxy_protocol": version},
        }
        for family, url in listeners.items()
        for version in ("v1", "v2")
    }
    with started(*command) as process, daemon(json.dumps({"services": services}), tmp_path) as running:
        until(lambda: (tmp_path / "ready").exists() or process.poll() is not None)
        assert process.poll() is None
        for version in ("v1", "v2"):
            for family, name, host in ((socket.AF_INET, "v4", "127.0.0.1"), (socket.AF_INET6, "v6", "::1")):
                local = running.port(f"{name}-{version}")
                client, answer = ask(family, (host, local))
                assert answer == f"{client} {host}:{local}"
            # The header names no client; HAProxy then goes by the connection, nginx by nothing.
            answer = ask(socket.AF_UNIX, f"{tmp_path}/{version}")[1]
            assert re.match(r"127\.0\.0\.1:\d+ |: ", answer), answer
