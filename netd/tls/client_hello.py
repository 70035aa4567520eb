"""The beginning of a TLS connection: whether it is one, and the name that the client asks for (SNI, RFC 6066).

OpenSSL reads the same octets afterwards, and judges them. Nothing here has to be valid.
"""

import re
import struct
from typing import NamedTuple

_HANDSHAKE, _CLIENT_HELLO = 22, 1  # RFC 8446, section 5.1 and 4
_SERVER_NAME, _HOST_NAME = 0, 0  # RFC 6066, section 3
_EXTENSION, _NAME = struct.Struct("!HH"), struct.Struct("!BH")
_HOST = re.compile("[a-z0-9_.-]{1,253}")
_LONGEST = 16384
"""Octets of a hello that are read. One has some hundred, or two thousand with a key share that resists quantum
computers."""
_MOST_RECORDS = 4
"""Records of a hello that are read: each arrival of an octet has this read them again."""


class ClientHello(NamedTuple):
    """What is known of a hello."""

    is_tls: bool
    """Whether the connection begins as one of TLS."""
    server_name: str = ""
    """The host that the client asks for, in lower case and without a dot at its end; empty: none, or no host."""


def parse_hello(data: bytes) -> ClientHello | None:
    """What the first octets of a connection say. None: there are too few of them yet."""
    if not data:
        return None
    if data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3):
        return ClientHello(is_tls=False)
    hello, is_complete = _reassembled(data)
    if hello and hello[0] != _CLIENT_HELLO:
        return ClientHello(is_tls=True)
    length = 4 + int.from_bytes(hello[1:4]) if len(hello) >= 4 else _LONGEST
    if len(hello) < length and is_complete and len(data) < _LONGEST:
        return None
    try:
        return ClientHello(is_tls=True, server_name=_server_name(hello))
    except (ValueError, LookupError, struct.error):
        return ClientHello(is_tls=True)


def _reassembled(data: bytes) -> tuple[bytes, bool]:
    """The handshake messages in the records so far, and whether another record may continue them."""
    hello = b""
    start = 0
    for _ in range(_MOST_RECORDS):
        if len(data) < start + 5:
            return hello, True
        end = start + 5 + int.from_bytes(data[start + 3 : start + 5])
        if data[start] != _HANDSHAKE:
            return hello, False
        hello += data[start + 5 : end]
        start = end
    return hello, len(data) < start


def _server_name(hello: bytes) -> str:
    """The name in this message. ValueError or LookupError: it ends within a field."""
    at = 4 + 2 + 32  # type, length, version, random
    at += 1 + hello[at]  # session
    at += 2 + int.from_bytes(hello[at : at + 2])  # ciphers
    at += 1 + hello[at]  # compression
    end = at + 2 + int.from_bytes(hello[at : at + 2])
    at += 2
    while at < end:
        kind, length = _EXTENSION.unpack_from(hello, at)
        at += _EXTENSION.size
        if kind == _SERVER_NAME:
            return _first_host(hello[at : at + length])
        at += length
    return ""


def _first_host(names: bytes) -> str:
    at = 2  # the length of the list
    while at < len(names):
        kind, length = _NAME.unpack_from(names, at)
        at += _NAME.size
        if kind == _HOST_NAME:
            text = names[at : at + length].decode("ascii").lower().removesuffix(".")
            return text if _HOST.fullmatch(text) else ""
        at += length
    return ""
