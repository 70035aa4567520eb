"""Listeners that are opened, and closed again."""

from netd.endpoints import Endpoint
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener


def open_all(*urls: str) -> list[Listener]:
    """The listeners of these URLs. Raises `OpenError`."""
    return open_listeners([("s", Endpoint.parse(url)) for url in urls], lambda *skipped: None)


def close(listeners: list[Listener]) -> None:
    """Close all of them."""
    for listener in listeners:
        listener.close()
