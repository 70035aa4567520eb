"""Calls the request handlers of `socketserver` with a `wfile` that takes less time, if the transport has one."""

from collections.abc import Callable
from typing import Any

from netd.services.socketserver_classes import is_a


def caller_of(handler: Any) -> Callable[[Any, Any, Any], object]:
    """What to call in place of a handler, with the socket, the client's address and the server.

    A StreamRequestHandler that has the `wfile` of socketserver gets that of the socket (`CountingSocket.writer`).
    """
    if not isinstance(handler, type) or not is_a(handler, "StreamRequestHandler"):
        return handler  # type: ignore[no-any-return]
    base = [one for one in handler.__mro__ if is_a(one, "BaseRequestHandler")][-1]
    if (type(handler), handler.__new__, handler.__init__) != (type, object.__new__, base.__init__):  # type: ignore[misc]
        return handler

    def call(request: Any, client_address: Any, server: Any) -> None:
        """The steps of `BaseRequestHandler.__init__`."""
        one: Any = object.__new__(handler)
        one.request, one.client_address, one.server = request, client_address, server
        one.setup()
        wfile = type(getattr(one, "wfile", None))
        is_usual = (wfile.__module__, wfile.__name__) == ("socketserver", "_SocketWriter") and one.connection is request
        if is_usual and hasattr(request, "writer"):
            one.wfile = request.writer()
        try:
            one.handle()
        finally:
            one.finish()

    return call
