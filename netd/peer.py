"""The other end of a connection or datagram, as a value."""

from typing import Any, Literal, NamedTuple, TypeAlias

from netd.addresses import address_text

Transport: TypeAlias = Literal["tcp", "udp", "unix", "unixgram"]
Address: TypeAlias = tuple[Any, ...]
"""A socket address of IPv4 or IPv6, as the socket module has it: host, port, and more in IPv6."""


class Credentials(NamedTuple):
    """The process at the other end of a UNIX stream, as the kernel reports it (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"pid={self.pid},uid={self.uid},gid={self.gid}"

    @property
    def user(self) -> str:
        """The user, without the process id, which differs between connections of one client."""
        return f"uid={self.uid}"


class Tls(NamedTuple):
    """What is known of the TLS connection of a peer. A value that is not known is empty."""

    protocol: str = ""
    """Such as ``TLSv1.3``."""
    cipher: str = ""
    common_name: str = ""
    """The common name of the peer's certificate, which was verified. Of names that a certificate has, the peer may have
    chosen some."""
    subject: str = ""
    """The subject of this certificate, as ``CN=alex,O=Example`` (RFC 4514)."""
    names: tuple[str, ...] = ()
    """Its alternative names, as ``dns:alex.example.org``, ``uri:…``, ``email:…`` and ``ip:…``."""
    fingerprint: str = ""
    """Its SHA-256 in hexadecimal, of the DER; empty: the peer has no certificate."""
    server_name: str = ""
    """The host that the peer has asked for (SNI, RFC 6066). The peer chooses it."""
    alpn: str = ""
    """The protocol that TLS has agreed on (RFC 7301)."""


class Proxied(NamedTuple):
    """What a proxy says of a connection that it passes on, beside the addresses. A value that it does not say is empty.

    The peer chooses some of it.
    """

    via: str
    """The proxy: the peer of the socket, as text."""
    server_name: str = ""
    """The host that the peer has asked for (SNI, RFC 6066)."""
    alpn: str = ""
    """The protocol that TLS has agreed on (RFC 7301)."""
    unique_id: str = ""
    """The name that the proxy has given to the connection."""
    tls: Tls | None = None
    """None: the peer has not connected to the proxy over TLS, or the proxy does not say it."""


class Peer(NamedTuple):
    """The other end of a connection or datagram, and the local address.

    Where a proxy has named them (`proxied`), both are those of its own peer. ``host`` and ``local_host`` are numeric
    addresses (an IPv4 peer of a dual-stack socket is IPv4). Over UNIX they are paths; ``host`` is empty if the client's
    socket has none.
    """

    transport: Transport
    host: str
    port: int = 0
    local_host: str = ""
    local_port: int = 0
    credentials: Credentials | None = None
    proxied: Proxied | None = None
    tls: Tls | None = None
    """Of the connection to netd itself; None: it is not over TLS."""
    ttl: int | None = None
    """The time to live, or hop limit of IPv6, with which the last packet of the TCP handshake, or the datagram, has
    arrived. Only for a service that declares ``reads_ttl``; None: it is not known, as behind a proxy and over UNIX."""

    @property
    def family(self) -> Literal["ipv4", "ipv6", "unix"]:
        """That of its address, over streams and datagrams alike."""
        if self.transport in ("unix", "unixgram"):
            return "unix"
        return "ipv6" if ":" in self.host else "ipv4"

    @property
    def remote(self) -> str:
        """The peer as text: ``192.0.2.7:5353``, ``[2001:db8::1]:5353``, ``/run/x.sock`` or ``pid=17,uid=0,gid=0``."""
        if not self.host and self.credentials:
            return str(self.credentials)
        return address_text(self.host, self.port, unix=self.family == "unix")

    @property
    def source(self) -> str:
        """The address without the port, which is the same for all connections and datagrams of a peer.

        Over UNIX: the path of the client's socket, or without a path the user.
        """
        if self.family != "unix":
            return self.host
        return self.credentials.user if not self.host and self.credentials else self.remote

    @property
    def via(self) -> str:
        """The proxy that has named the peer, as text; empty if none has."""
        return self.proxied.via if self.proxied else ""

    @property
    def local(self) -> str:
        """The local address, as text."""
        return address_text(self.local_host, self.local_port, unix=self.family == "unix")
