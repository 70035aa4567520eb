"""Certificates that certbot gets and renews, from a real server of ACME (RFC 8555), as docs/tls.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.programs import need
from tests.support.waiting import until
from tests.systemd.conftest import ROOT, Lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180, func_only=True),
    pytest.mark.parametrize("booted", ["host"], indirect=True),
]

NAME = "www.example.org"
ANSWERS = "--standalone --server https://localhost:14000/dir --agree-tos --register-unsafely-without-email -n"
CONFIG = f"""
services:
  echo:
    listen: [tls://*:7]
    tls: {{certificate: /etc/letsencrypt/live/{NAME}/fullchain.pem, key: /etc/letsencrypt/live/{NAME}/privkey.pem}}
"""
GREETING = f"""
import socket, ssl
context = ssl.create_default_context(cafile="/etc/pebble/root.pem")
with context.wrap_socket(socket.create_connection(("127.0.0.1", 7)), server_hostname="{NAME}") as one:
    one.sendall(b"x")
    assert one.recv(1) == b"x"
    print(one.getpeercert()["serialNumber"])
"""


@pytest.fixture
def trusted(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """A server of ACME in the lab: the path of the certificate of the authority that its own one has."""
    need("certbot", "pebble")
    authority = Authority(tmp_path)
    issued = authority.issue("server")
    files = {"ca.pem": authority.certificate, "server.pem": issued.certificate, "server.key": issued.key}
    for name, file in files.items():
        lab.write(f"/etc/pebble/{name}", file.read_text())
    ports = {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "httpPort": 80}
    own = {"certificate": "/etc/pebble/server.pem", "privateKey": "/etc/pebble/server.key"}
    lab.write("/etc/pebble/config.json", json.dumps({"pebble": {**ports, **own, "tlsPort": 443}}))
    lab.write("/etc/hosts", f"127.0.0.1 localhost {NAME}\n")
    command = ("--setenv=PEBBLE_VA_NOSLEEP=1", "pebble", "-config", "/etc/pebble/config.json")
    lab.run("systemd-run", "--quiet", "--collect", "--unit=pebble", *command)
    try:
        root = ("curl", "--silent", "--cacert", "/etc/pebble/ca.pem", "https://localhost:15000/roots/0")
        until(lambda: "BEGIN CERTIFICATE" in lab.run(*root, code=None), 30)
        lab.write("/etc/pebble/root.pem", lab.run(*root))
        yield "/etc/pebble/ca.pem"
    finally:
        lab.run("systemctl", "stop", "pebble")


def test_certificate_of_certbot_is_served_and_renewed(lab: Lab, trusted: str) -> None:
    lab.run("groupadd", "--force", "--system", "netd-tls")
    lab.config("services:\n  echo: {listen: [tcp://*:7]}\n")
    lab.drop_in((ROOT / "systemd/netd.service.d/tls.conf").read_text())
    lab.run("systemctl", "start", "netd")
    page = (ROOT / "docs" / "tls.md").read_text()
    block = re.search(r"(?m)^    certbot (?s:.*?)\n\n", page)
    assert block
    lab.run("sh", "-ec", f"export REQUESTS_CA_BUNDLE={trusted}\n{block[0].replace('…', ANSWERS)}")
    lab.wait_for("reload_applied")

    lab.config(CONFIG)
    lab.run("systemctl", "reload", "netd")
    before = lab.python(GREETING)
    lab.run("env", f"REQUESTS_CA_BUNDLE={trusted}", "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert lab.python(GREETING) != before
    lab.wait_for("reload_applied", 3)
