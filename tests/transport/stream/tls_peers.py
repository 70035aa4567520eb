"""What tests of TLS handshakes take: a server, a client, and the failures that are counted."""

import ssl
from typing import Any

from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream.server import StreamServer
from tests.support.certificates import Issued
from tests.support.server import Server
from tests.support.tls import TlsClient, tls_preambles
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import connect


def serve(server: Server, issued: Issued, service: Any = None, **options: Any) -> tuple[Any, ServiceEvents]:
    """Serve with TLS; ``trust`` is the path of authorities of clients."""
    address, events = server.add(
        service or PlainEcho(), "tcp://127.0.0.1:0", preambles=tls_preambles(issued, **options)
    )
    [stream] = server.servers
    assert isinstance(stream, StreamServer)
    handshake: Any = stream.connections._preambles.transforming  # type: ignore[union-attr]
    handshake._events = events
    return address, events


def talk(address: Any, context: ssl.SSLContext, **given: Any) -> TlsClient:
    client = connect(address)
    try:
        return TlsClient(client, context, **given).handshake()
    except BaseException:
        client.close()
        raise


def failures(events: ServiceEvents) -> dict[str, int]:
    return dict(events.counters.handshakes_failed)
