"""exec: its options, and what it tells a program about the peer."""

import json

import pytest
from pydantic import ValidationError

from netd.peer import Proxied, Tls
from netd.services.exec import Exec
from netd.services.exec.environment import is_about_peer
from netd.services.service_type import ServiceType
from netd.testing import PEER, build


def test_exec_gives_connections_and_sockets_to_programs() -> None:
    kind = ServiceType.of(Exec, "exec")
    assert (kind.serving, kind.datagrams, kind.listens, kind.starts_programs) == ("program", "program", True, True)


def test_program_is_told_about_the_peer() -> None:
    service = build(Exec, command=["/bin/cat"])
    assert service.program(PEER)["REMOTE_HOST"] == PEER.host
    assert service.options.command == ("/bin/cat",)


def test_program_is_told_the_facts_of_a_proxy() -> None:
    service = build(Exec, command=["/bin/cat"])
    facts = Proxied("10.0.0.1:5", "www.example.com", "h2", "17", Tls("TLSv1.3", "AES", "alex"))
    assert service.program(PEER._replace(proxied=facts)) == service.program(PEER) | {
        "PROXY_VIA": "10.0.0.1:5",
        "PROXY_ALPN": "h2",
        "PROXY_UNIQUE_ID": "17",
        "SSL_TLS_SNI": "www.example.com",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "AES",
        "SSL_PEER_CERT_SUBJECT_CN": "alex",
    }
    hostile = Proxied("10.0.0.1:5", "() { :;}", tls=Tls(common_name="a\nb"))
    told = service.program(PEER._replace(proxied=hostile))
    assert told == service.program(PEER) | {"PROXY_VIA": "10.0.0.1:5"}
    assert all(is_about_peer(name) for name in service.program(PEER._replace(proxied=facts)))


@pytest.mark.parametrize(("given", "where"), [("null", "null"), (None, "null"), ("log", "log"), ("peer", "peer")])
def test_standard_error_is_null_with_and_without_quotes(given: object, where: str) -> None:
    assert build(Exec, command=["/x"], stderr=given).options.stderr == where


@pytest.mark.parametrize("options", [{"mode": "wait"}, {"stderr": "off"}, {"relay": "yes"}, {"wait_for_data": "x"}])
def test_other_values_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        build(Exec, command=["/x"], **options)


def test_options_are_the_same_after_they_are_written() -> None:
    options = build(
        Exec, command=["/bin/sh", "-c", "exit 3"], mode="listener", stderr=None, relay=True, wait_for_data="1s"
    ).options
    assert Exec.Options.model_validate_json(json.dumps(options.model_dump(mode="json"))) == options
