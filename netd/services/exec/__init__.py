"""exec: a program for each connection, or one that gets the listening sockets, as inetd(8) and xinetd(8) start them.

Read `options` first, then `environment`: what a program finds in it.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from netd.contract import Context, ProgramObserver, RunningProgram
from netd.peer import Peer, Proxied, Tls
from netd.services.exec.environment import peer_environment
from netd.services.exec.options import ProgramOptions
from netd.telemetry.program_events import COUNTERS
from netd.values import Timeout

_Stderr = Annotated[
    Literal["log", "peer", "null"],
    BeforeValidator(lambda value: "null" if value is None else value),  # what YAML reads a bare null as
    WithJsonSchema({"enum": ["log", "peer", "null", None]}),
]


_MOST_NAMES = 16  # of each kind, of a certificate


class Exec:
    """Starts a program for each connection, or one that accepts connections and receives datagrams by itself."""

    listens = True
    counters = COUNTERS

    class Options(ProgramOptions):
        """Options of ``exec``."""

        mode: Literal["connection", "listener"] = "connection"
        """`connection` (nowait of inetd): a program for each connection, which is its standard input and output.
        `listener` (wait of inetd): one program, started when a connection or datagram comes, gets the listening socket
        as 0, 1 and 3 (LISTEN_FDS, sd_listen_fds(3)) and accepts or receives by itself until it ends. There
        `access.allow`, `access.deny` and bans hold as a socket filter (over TCP with CAP_NET_ADMIN), and no limits."""
        stderr: _Stderr = "log"
        """Where standard error of the program goes: `log` (each line an event), `peer` (the connection, as with inetd
        and xinetd) or `null` (nowhere). log, since complaints of a program are for the operator, not for the peer."""
        relay: bool = False
        """Whether the program gets one end of a socket pair, and netd passes the octets on: so `limits.idle`,
        `limits.bytes`, counts of octets and `netd trace` work. Off, since it takes time, and a program that asks for
        the address of its peer (getpeername(2)) finds none; always on at endpoints with `tls://`."""
        wait_for_data: Timeout = None
        """How long netd waits for the first octet before it starts the program; for a client that closes the connection
        before, none is started. Off, since the program may have to speak first."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.wait_for_data = options.wait_for_data
        self.reads_errors = options.stderr == "log"
        self.relay = options.relay
        self._describes = options.relay or context.names_peers
        self._start = context.start

    def program(self, peer: Peer) -> dict[str, str]:
        """The variables that tell the program about the peer of its connection."""
        facts = (_facts(peer.proxied) if peer.proxied else {}) | (_tls_facts(peer.tls) if peer.tls else {})
        return peer_environment(peer, facts or None)

    def start(self, peer: Peer, descriptors: Sequence[int], observer: ProgramObserver) -> RunningProgram:
        """Start the program of a connection (`netd.contract.StartProgram`)."""
        return self._start(peer, self.program(peer) if self._describes else {}, descriptors, observer)


def _facts(proxied: Proxied) -> dict[str, str]:
    """What a proxy says, under the names of mod_ssl and s6-networking where there are such."""
    tls = proxied.tls or Tls()
    found = {
        "PROXY_VIA": proxied.via,
        "PROXY_ALPN": proxied.alpn,
        "PROXY_UNIQUE_ID": proxied.unique_id,
        "SSL_TLS_SNI": proxied.server_name,
        "SSL_PROTOCOL": tls.protocol,
        "SSL_CIPHER": tls.cipher,
        "SSL_PEER_CERT_SUBJECT_CN": tls.common_name,
    }
    return {name: value for name, value in found.items() if value}


def _tls_facts(tls: Tls) -> dict[str, str]:
    """What is known of the TLS connection to netd itself, under the names of mod_ssl."""
    found = {
        "HTTPS": "on",
        "SSL_PROTOCOL": tls.protocol,
        "SSL_CIPHER": tls.cipher,
        "SSL_TLS_SNI": tls.server_name,
        "SSL_ALPN": tls.alpn,
        "SSL_CLIENT_VERIFY": "SUCCESS" if tls.fingerprint else "NONE",
        "SSL_CLIENT_S_DN": tls.subject,
        "SSL_CLIENT_S_DN_CN": tls.common_name,
        "SSL_CLIENT_FINGERPRINT": tls.fingerprint,
        "SSL_PEER_CERT_SUBJECT_CN": tls.common_name,
    }
    numbers = {"dns": 0, "uri": 0, "email": 0, "ip": 0}
    for name in tls.names:
        kind, _, value = name.partition(":")
        if numbers[kind] < _MOST_NAMES:
            found[f"SSL_CLIENT_SAN_{kind.upper()}_{numbers[kind]}"] = value
            numbers[kind] += 1
    return {name: value for name, value in found.items() if value}
