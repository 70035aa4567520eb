"""Makes a service of what a file has: a service of netd, a handler of `socketserver`, or a function in its place.

A handler of streams is served in a thread, as the `handler` of a service is, and an async function in asyncio. A
handler of datagrams is called as `datagram` is, with a stand-in for the socket, which keeps the answer: so all that
protects others from answers of netd holds for it.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from netd.peer import Peer
from netd.services.socketserver_classes import is_a, is_coroutine_function, takes_datagrams, why_no_handler

_FITS = (
    "netd serves a class with stream(self, peer) or datagram(self, data, peer), a handler of socketserver or "
    "http.server, a function (request, client_address, server), and an async function (reader, writer)"
)


def service_of(found: Any) -> type:
    """The class that netd serves for a class or a function. Raises ValueError, with what would fit, for another one."""
    if isinstance(found, type):
        if is_a(found, "BaseRequestHandler"):
            if is_coroutine_function(found.handle):  # type: ignore[attr-defined]
                raise ValueError(why_no_handler(found))
            return _adapt(found, found.__name__)
        if is_a(found, "BaseServer"):
            raise ValueError("it is a server of socketserver, and netd has its own; name its request handler")
        if is_a(found, "BaseProtocol", "asyncio.protocols"):
            raise ValueError(f"it is a protocol of asyncio, which netd does not run; {_FITS}")
        if not any(hasattr(found, method) for method in ("stream", "datagram", "handler", "program", "forwards")):
            raise ValueError(f"it has neither stream nor datagram; {_FITS}")
        return found
    name = getattr(found, "__name__", type(found).__name__)
    if inspect.isasyncgenfunction(found):
        raise ValueError(f"it is an async generator; {_FITS}")
    if inspect.isgeneratorfunction(found):
        raise ValueError("it is a generator; make it the method stream(self, peer) of a class, and name that")
    if not callable(found):
        raise ValueError(f"it is no class and no function, but {name}; {_FITS}")
    is_async = is_coroutine_function(found)
    taken = ("reader", "writer") if is_async else ("request", "client_address", "server")
    try:
        inspect.signature(found).bind(*taken)
    except (TypeError, ValueError):
        what = "it is an async function, and" if is_async else "it"
        raise ValueError(f"{what} cannot be called with ({', '.join(taken)}); {_FITS}") from None
    return _adapt(found, name)


def _adapt(handler: Any, name: str) -> type:
    """A service of a handler, or of a function in its place."""
    declared: dict[str, Any] = {"__doc__": handler.__doc__, "__module__": handler.__module__}
    if not is_coroutine_function(handler) and takes_datagrams(handler):
        declared["datagram"] = _datagram_method(handler)
        declared["datagram_blocks"] = True
    else:
        declared["handler"] = staticmethod(handler)
        if isinstance(handler, type) and is_a(handler, "BaseHTTPRequestHandler", "http.server"):
            declared["client_speaks_first"] = True  # a client that is silent takes no thread
            if handler.log_message.__module__ == "http.server":  # type: ignore[attr-defined]
                # It would print a line for each request of any client, where netd has its own log, with limits.
                declared["handler"] = type(name, (handler,), {"log_message": lambda *arguments: None})
    return type(name, (), declared)


class ServerAddress(NamedTuple):
    """Stands for the server that a handler of datagrams gets."""

    server_address: tuple[str, int]


class AnswerSocket:
    """Stands for the socket that a handler of datagrams gets: keeps the answer, which the transport sends."""

    def __init__(self, client: tuple[str, int]) -> None:
        self.answer: bytes | None = None
        self._client = client

    def sendto(self, data: Any, *arguments: Any) -> int:
        """Answer with these octets: ``sendto(data, address)``, or with flags in between. No octets are no answer."""
        if not arguments or tuple(arguments[-1])[:2] != self._client:
            raise ValueError(f"netd answers the client {self._client} alone, not {arguments[-1:]}")
        answer = bytes(data)
        if self.answer is not None and answer:
            raise ValueError("netd sends one answer to a datagram, and this is the second one")
        self.answer = answer or self.answer
        return len(answer)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the socket that netd gives to a handler of datagrams has sendto alone, and no '{name}'")


def _datagram_method(handler: Callable[[Any, Any, Any], object]) -> Callable[[Any, bytes, Peer], bytes | None]:
    def datagram(self: object, data: bytes, peer: Peer) -> bytes | None:
        client = (peer.remote, 0) if peer.family == "unix" else (peer.host, peer.port)
        stand_in = AnswerSocket(client)
        handler((data, stand_in), client, ServerAddress((peer.local_host, peer.local_port)))
        return stand_in.answer

    return datagram
