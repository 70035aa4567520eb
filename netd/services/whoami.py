"""whoami: the address of the peer, as netd sees it, with what else is known of it."""

import json
from typing import Any

from netd.contract import Receive, WaitingConversation
from netd.lines import PAUSE
from netd.peer import Peer, Tls
from netd.text import printable

_JSON = b"json"
_LONGEST = 64  # octets of a question: longer ones ask for nothing


class WhoAmI:
    """Sends the peer's address and the local one, as netd sees them, in one line and closes.

    Beside them it sends what else is known: the TTL or hop limit with which the last packet of the handshake, or the
    datagram, has arrived; the octets of a datagram; and what TLS and a proxy say. To the line or datagram `json` it
    answers with a JSON object, which docs/reference/json.md describes. Over a stream it waits 0.3 s for that line.
    """

    reads_ttl = True

    def stream(self, peer: Peer) -> WaitingConversation:
        asked = b""
        while b"\n" not in asked and len(asked) < _LONGEST and (data := (yield Receive(PAUSE))):
            asked += data
        yield _answer(asked, peer, None)

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return _answer(data, peer, len(data))

    def truncate(self, answer: bytes, most: int) -> bytes | None:
        """As many whole fields of a line as fit; the peer's address comes first. An object is whole, or not sent."""
        return None if answer.startswith(b"{") else answer[: most - 1].rpartition(b" ")[0] + b"\r\n"


def _answer(asked: bytes, peer: Peer, size: int | None) -> bytes:
    """The answer to a question; ``size`` is that of a datagram, in octets."""
    text = json.dumps(_object(peer, size)) if asked.strip().lower() == _JSON else _line(peer, size)
    return f"{text}\r\n".encode()


def _line(peer: Peer, size: int | None) -> str:
    fields: list[tuple[str, object]] = [
        ("peer", peer.remote),
        ("local", peer.local),
        ("transport", peer.transport),
        ("family", peer.family),
        ("ttl", peer.ttl),
        ("size", size),
    ]
    if proxied := peer.proxied:
        fields += [("via", proxied.via), *_of_tls("via_", proxied.tls)]
        fields += [("via_id", printable(proxied.unique_id))]
        if not proxied.tls:
            fields += [("via_sni", printable(proxied.server_name)), ("via_alpn", printable(proxied.alpn))]
    fields += _of_tls("", peer.tls)
    return " ".join(f"{key}={value}" for key, value in fields if value not in ("", None))


def _of_tls(prefix: str, tls: Tls | None) -> list[tuple[str, object]]:
    if tls is None:
        return []
    return [
        (f"{prefix}tls", printable(tls.protocol)),
        (f"{prefix}cipher", printable(tls.cipher)),
        (f"{prefix}sni", printable(tls.server_name)),
        (f"{prefix}alpn", printable(tls.alpn)),
        (f"{prefix}certificate", tls.fingerprint),
        (f"{prefix}subject", json.dumps(tls.subject) if tls.subject else ""),
    ]


def _object(peer: Peer, size: int | None) -> dict[str, Any]:
    proxied = peer.proxied
    return {
        "format_version": 1,
        "peer": peer.remote,
        "host": peer.host,
        "port": peer.port,
        "local": peer.local,
        "local_host": peer.local_host,
        "local_port": peer.local_port,
        "transport": peer.transport,
        "family": peer.family,
        "ttl": peer.ttl,
        "size_bytes": size,
        "credentials": peer.credentials and peer.credentials._asdict(),
        "proxy": proxied and {**proxied._asdict(), "tls": proxied.tls and proxied.tls._asdict()},
        "tls": peer.tls and peer.tls._asdict(),
    }
