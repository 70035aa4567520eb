"""A server with TLS of Python, in threads."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from tests.support.certificates import Issued


def server_context(identity: Issued, client_ca: str | None = None) -> ssl.SSLContext:
    """Of a server with this certificate; with ``client_ca`` it requires certificates of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def echo(connection: ssl.SSLSocket) -> None:
    """Send back what comes, then the end."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.unwrap().close()


@contextlib.contextmanager
def tls_server(
    context: ssl.SSLContext,
    serve: Callable[[ssl.SSLSocket], object] = echo,
    failed: Callable[[ssl.SSLError], object] = lambda error: None,
) -> Iterator[int]:
    """Serve each connection after its handshake in a thread, and close it: the port. Errors of TLS and sockets end one
    connection; ``failed`` gets those of handshakes.
    """
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def run(bare: socket.socket) -> None:
        with bare, contextlib.suppress(OSError):
            with context.wrap_socket(bare, server_side=True, do_handshake_on_connect=False) as connection:
                connections.append(connection)
                try:
                    connection.do_handshake()
                except ssl.SSLError as error:
                    failed(error)
                    # A close with unread input would be a reset, which overtakes the alert.
                    socket.socket.shutdown(connection, socket.SHUT_WR)
                    while socket.socket.recv(connection, 65536):
                        pass
                    return
                serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                bare, _ = listener.accept()
                bare.settimeout(20)
                threads.append(threading.Thread(target=run, args=(bare,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join(20)
            for connection in connections:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            for thread in threads:
                thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
