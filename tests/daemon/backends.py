"""Servers that netd passes connections on to, in threads of the test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress


class Backend:
    """A server that answers each connection with its name, and then with all that it has sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:{1}".format(*self.socket.getsockname())
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(ConnectionError):
            client.sendall(f"{self.name} ".encode())
            while data := client.recv(65536):
                client.sendall(data)

    def close(self) -> None:
        """Refuse connections; those that are open go on."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reopen(self) -> None:
        """Accept connections again, at the same address."""
        self.socket = socket.create_server(("127.0.0.1", int(self.url.rpartition(":")[2])))
        threading.Thread(target=self._run, daemon=True).start()


@contextmanager
def backends(*names: str) -> Iterator[list[Backend]]:
    """A server of each name."""
    with ExitStack() as stack:
        made = [Backend(name) for name in names]
        for one in made:
            stack.callback(lambda one=one: one.socket.fileno() >= 0 and one.close())  # type: ignore[misc]
        yield made
