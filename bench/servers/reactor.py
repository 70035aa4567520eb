"""An echo over Twisted, on its epoll reactor. ``reactor.py tcp|udp PORT``."""

import sys
from typing import Any

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor as installed  # noqa: E402  # the reactor that was installed first
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol  # noqa: E402

reactor: Any = installed  # for the type checker this is a module


class Echo(Protocol):  # type: ignore[misc]  # Twisted is not installed where types are checked
    """Echoes data; does not read while the peer does not read."""

    def connectionMade(self) -> None:  # noqa: N802  # the name that Twisted calls
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.transport.write(data)


class Datagrams(DatagramProtocol):  # type: ignore[misc]
    """Echoes each datagram."""

    def datagramReceived(self, datagram: bytes, addr: object) -> None:  # noqa: N802
        self.transport.write(datagram, addr)


if __name__ == "__main__":
    port = int(sys.argv[2])
    if sys.argv[1] == "tcp":
        reactor.listenTCP(port, Factory.forProtocol(Echo), backlog=1024, interface="127.0.0.1")
    else:
        reactor.listenUDP(port, Datagrams(), interface="127.0.0.1")
    reactor.run()
