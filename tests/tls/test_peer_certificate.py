"""What the certificate of a server says."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from netd.tls.peer_certificate import describe_certificate
from tests.support.certificates import Authority, Issued, now


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def told(one: Issued) -> str:
    return describe_certificate(one.x509.public_bytes(Encoding.DER), now())


def test_description_has_subject_issuer_and_end(ca: Authority) -> None:
    server, alone, old = ca.issue("server"), ca.issue("alone", self_signed=True), ca.issue("old", days=(-2, -1))
    assert told(server) == f"CN=server, issued by CN=Test CA, valid until {end_of(server)}"
    assert told(alone) == f"CN=alone, self-signed, valid until {end_of(alone)}"
    assert told(old) == f"CN=old, issued by CN=Test CA, expired {end_of(old)}"


def end_of(one: Issued) -> str:
    return f"{one.x509.not_valid_after_utc:%Y-%m-%d}"


def test_names_are_cut_and_have_no_control_characters(ca: Authority) -> None:
    said = told(ca.issue("a\x1b[31m\n" + "x" * 55))
    assert said.isprintable()
    assert "[31m" in said


def test_server_may_have_a_certificate_that_breaks_the_standards(ca: Authority) -> None:
    der = ca.issue("server").x509.public_bytes(Encoding.DER)
    for place in range(len(der)):
        for octet in (0, 2, 3, 5, 0x0C, 0x7F, 0x80, 0xFF):
            said = describe_certificate(der[:place] + bytes([octet]) + der[place + 1 :], now())
            assert said.isprintable()
            assert len(said) < 500


@given(st.binary(max_size=300))
def test_octets_that_are_no_certificate_are_no_error(der: bytes) -> None:
    assert describe_certificate(der, now()) == "a certificate that cannot be read"
