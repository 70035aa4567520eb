"""Services, and ways to serve them, for tests of the transports."""

import socketserver

import pytest

from netd.contract import Post
from netd.peer import Peer
from netd.services.echo import Echo

BOTH = pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
DENY: dict[str, object] = {"access": {"deny": ["any"]}}


class PlainEcho(Echo):
    """Echo with the declaration taken away: the service is asked for each answer."""

    reflects = False


class Board:
    """Answers ``in`` or ``out``, and keeps the post to each sender."""

    server_initiated = True

    def __init__(self) -> None:
        self.posts: list[Post | None] = []

    def datagram(self, data: bytes, peer: Peer, post: Post | None) -> bytes:
        self.posts.append(post)
        return b"out" if post is None else b"in"


class Shout(socketserver.StreamRequestHandler):
    """Reads a line and sends it back in upper case."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


class Finger:
    """A service that is nothing but its handler."""

    handler = Shout


class Quiet:
    """The same, with a thread only once the peer has sent something."""

    handler = Shout
    client_speaks_first = True
