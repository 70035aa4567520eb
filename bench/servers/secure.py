"""The least that an echo over TLS keeps in Python: epoll, and an ssl.SSLSocket for each connection.

``secure.py PORT CERTIFICATE``: what a server keeps beyond it is not OpenSSL's.
"""

import select
import socket
import ssl
import sys


def main(port: int, certificate: str) -> None:
    """Serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    clients: dict[int, ssl.SSLSocket] = {}
    ready = select.epoll()
    ready.register(listener.fileno(), select.EPOLLIN)
    while True:
        for number, _ in ready.poll():
            if number in clients:
                if not echo(clients[number]):
                    clients.pop(number).close()
                continue
            plain = listener.accept()[0]
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setblocking(False)
            client = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            clients[client.fileno()] = client
            ready.register(client.fileno(), select.EPOLLIN)


def echo(client: ssl.SSLSocket) -> bool:
    """Send back what there is; the first call does the handshake. Whether the connection goes on."""
    try:
        while data := client.recv(65536):
            client.setblocking(True)  # not fair: other connections wait for a slow reader
            client.sendall(data)
            client.setblocking(False)
        client.unwrap()
    except ssl.SSLWantReadError:
        return True
    except OSError:
        pass
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
