"""The first octets of a TLS connection."""

import functools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.tls.client_hello import ClientHello, parse_hello


@functools.cache
def hello(server_name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(message: bytes, size: int) -> bytes:
    """A message in records of so many octets."""
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("asked", "found"),
    [("www.example.org", "www.example.org"), ("WWW.Example.ORG", "www.example.org"), (None, ""), ("192.0.2.1", "")],
)
def test_name_is_found_once_the_hello_is_complete(version: ssl.TLSVersion, asked: str | None, found: str) -> None:
    data = hello(asked, version)
    assert [parse_hello(data[:size]) for size in range(len(data))] == [None] * len(data)
    for said in (data, data + b"\x14\3\3\0\1\1", data + data):
        assert parse_hello(said) == ClientHello(is_tls=True, server_name=found)


def test_name_is_found_in_a_few_records() -> None:
    message = hello("www.example.org")[5:]
    split = in_records(message, -(-len(message) // 3))
    assert [parse_hello(split[:size]) for size in range(len(split))] == [None] * len(split)
    assert parse_hello(split) == ClientHello(is_tls=True, server_name="www.example.org")
    assert parse_hello(in_records(message, 1)) == ClientHello(is_tls=True), "OpenSSL reads it all the same"


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.0\r\n\r\n", b"\n", b"hello\r\n", b"\x16\2", b"\x80\x2e\1\3\1", b"\x15\3\3"]
)
def test_plain_text_is_no_tls(data: bytes) -> None:
    assert [parse_hello(data[:size]) for size in range(2, len(data) + 1)] == [ClientHello(is_tls=False)] * (
        len(data) - 1
    )


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a b", b"a\0b", b"\r\n", b"()"])
def test_name_of_no_host_is_none(name: bytes) -> None:
    asked = b"x" * 17
    said = hello(asked.decode()).replace(asked, name * (17 // len(name)) + b"x" * (17 % len(name)))
    assert parse_hello(said) == ClientHello(is_tls=True)


@given(st.binary(max_size=600), st.integers(0, 600), st.booleans())
def test_no_octets_are_too_odd(noise: bytes, at: int, is_cut: bool) -> None:
    data = hello("www.example.org")
    changed = data[:at] + noise + (b"" if is_cut else data[at + len(noise) :])
    found = parse_hello(changed)
    assert found is None or isinstance(found, ClientHello)


def test_hello_that_never_ends_is_decided_about() -> None:
    endless = b"\x16\3\1\x40\0\1\xff\xff\xff" + bytes(20000)
    assert next(size for size in range(len(endless)) if parse_hello(endless[:size])) <= 16389
