"""Resolves names of hosts by getaddrinfo(3), which blocks, in one thread of its own."""

import queue
import socket
import threading
from collections.abc import Callable

from netd.transport.loop import Loop

_MOST_WAITING = 1024
_MOST_ADDRESSES = 16

Then = Callable[[tuple[str, ...], str], object]


class Resolver:
    """Resolves one name after the other. The thread is started for the first one, and ends with the process."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: queue.SimpleQueue[tuple[str, Then]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def resolve(self, name: str, then: Then) -> None:
        """Have ``then`` called in the thread of the loop, with the addresses or an error (`netd.contract.Resolve`)."""
        if self._waiting.qsize() >= _MOST_WAITING:
            self._loop.call(lambda: then((), "too many names wait to be resolved"))
            return
        self._waiting.put((name, then))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            name, then = self._waiting.get()
            self._answer(then, *_addresses(name))

    def _answer(self, then: Then, addresses: tuple[str, ...], error: str) -> None:
        self._loop.call(lambda: then(addresses, error))


def _addresses(name: str) -> tuple[tuple[str, ...], str]:
    try:
        # As octets: Python would import the codec of IDNA for a text, which a worker may not be able to read.
        found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        return (), str(error.strerror)
    except Exception as error:  # a name that is no ASCII; the thread goes on
        return (), repr(error)
    return tuple(dict.fromkeys(_host(*address) for *_, address in found))[:_MOST_ADDRESSES], ""


def _host(host: str | int, port: str | int, flow: int = 0, interface: int = 0) -> str:
    """The numeric address of a socket address, with the interface of a link-local one as its zone."""
    return f"{host}%{interface}" if interface else str(host)
