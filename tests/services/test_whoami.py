"""whoami, over each transport, as text and as JSON."""

import json
from typing import Any

import pytest

from netd.peer import Credentials, Peer, Proxied, Tls
from netd.services.whoami import WhoAmI
from netd.testing import PEER, build, datagram, script
from tests.support.services import service

BEGIN = "peer=192.0.2.7:5353 local=192.0.2.1:7 transport=tcp family=ipv4"
TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "alex", "CN=alex,O=E x", ("dns:alex",), "ab12", "host", "h2")
TLS_TEXT = (
    'tls=TLSv1.3 {0}cipher=TLS_AES_256_GCM_SHA384 {0}sni=host {0}alpn=h2 {0}certificate=ab12 {0}subject="CN=alex,O=E x"'
)
PEERS = [
    (PEER, BEGIN),
    (PEER._replace(ttl=0), f"{BEGIN} ttl=0"),
    (PEER._replace(proxied=Proxied("10.0.0.1:5")), f"{BEGIN} via=10.0.0.1:5"),
    (
        PEER._replace(proxied=Proxied("10.0.0.1:5", "a host", "h2", "id-7")),
        f"{BEGIN} via=10.0.0.1:5 via_id=id-7 via_sni=a host via_alpn=h2",
    ),
    (PEER._replace(ttl=63, tls=TLS), f"{BEGIN} ttl=63 {TLS_TEXT.format('')}"),
    (PEER._replace(proxied=Proxied("p", tls=TLS)), f"{BEGIN} via=p via_{TLS_TEXT.format('via_')}"),
    (Peer("udp", "::1", 5, "::1", 7), "peer=[::1]:5 local=[::1]:7 transport=udp family=ipv6"),
    (
        Peer("unix", "", 0, "/run/x", 0, Credentials(1, 2, 3)),
        "peer=pid=1,uid=2,gid=3 local=/run/x transport=unix family=unix",
    ),
]


@pytest.mark.parametrize(("peer", "line"), PEERS)
def test_whoami_sends_what_is_known_of_the_connection(peer: Peer, line: str) -> None:
    whoami = service("whoami")
    said = f"{line}\r\n".encode()
    script(whoami, peer).sends(b"").times_out().sends(said).ends()
    script(whoami, peer).sends(b"").receives_eof().sends(said).ends()
    script(whoami, peer).sends(b"").receives(b"\n").sends(said).ends()
    script(whoami, peer).sends(b"").receives(b"GET / HTTP/1.1\r\n").sends(said).ends()
    script(whoami, peer).sends(b"").receives(b"j").receives(b"x" * 100).sends(said).ends()


def test_datagram_is_answered_with_its_size() -> None:
    whoami = service("whoami")
    assert datagram(whoami, b"", PEER._replace(ttl=9)) == f"{BEGIN} ttl=9 size=0\r\n".encode()
    assert datagram(whoami, b"x" * 70, PEER) == f"{BEGIN} size=70\r\n".encode()


@pytest.mark.parametrize("asked", [b"json\n", b"JSON\r\n", b" json \n"])
def test_whoami_sends_an_object_if_it_is_asked_to(asked: bytes) -> None:
    whoami = service("whoami")
    stream = script(whoami, PEER._replace(ttl=63, tls=TLS)).sends(b"").receives(asked)
    text = datagram(whoami, asked, PEER._replace(ttl=63, tls=TLS))
    assert text
    assert text.endswith(b"}\r\n")
    wanted: dict[str, Any] = {
        "format_version": 1,
        "peer": "192.0.2.7:5353",
        "host": "192.0.2.7",
        "port": 5353,
        "local": "192.0.2.1:7",
        "local_host": "192.0.2.1",
        "local_port": 7,
        "transport": "tcp",
        "family": "ipv4",
        "ttl": 63,
        "size_bytes": len(asked),
        "credentials": None,
        "proxy": None,
        "tls": {
            "protocol": "TLSv1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
            "common_name": "alex",
            "subject": "CN=alex,O=E x",
            "names": ["dns:alex"],
            "fingerprint": "ab12",
            "server_name": "host",
            "alpn": "h2",
        },
    }
    assert json.loads(text) == wanted
    stream.sends(json.dumps({**wanted, "size_bytes": None}).encode() + b"\r\n").ends()


def test_object_has_what_a_proxy_and_the_kernel_say() -> None:
    peer = Peer("unix", "", 0, "/run/x", 0, Credentials(1, 2, 3), Proxied("p:1", unique_id="7", tls=Tls("TLSv1.2")))
    found = json.loads(datagram(service("whoami"), b"json", peer) or b"")
    assert found["credentials"] == {"pid": 1, "uid": 2, "gid": 3}
    assert found["proxy"]["via"] == "p:1"
    assert found["proxy"]["unique_id"] == "7"
    assert found["proxy"]["tls"]["protocol"] == "TLSv1.2"
    assert found["ttl"] is None


def test_line_is_cut_to_whole_fields_and_an_object_is_not_cut() -> None:
    whoami = build(WhoAmI)
    assert whoami.truncate(b"peer=1 local=2 family=3\r\n", 20) == b"peer=1 local=2\r\n"
    assert whoami.truncate(b'{"peer": "x y"}\r\n', 10) is None
