"""Services for tests of the transports."""

import socketserver

import pytest

from netd.contract import Post
from netd.peer import Peer
from netd.services.echo import Echo

BOTH = pytest.mark.parametrize("batched", [True, False, None], ids=["batched", "one by one", "few"])
DENY: dict[str, object] = {"access": {"deny": ["any"]}}


class PlainEcho(Echo):
    """Echo without its declaration: served as a conversation, and asked for each datagram."""

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
    """A service with a handler alone."""

    handler = Shout


class Quiet:
    """As `Finger`, with a thread only from the first octet on."""

    handler = Shout
    client_speaks_first = True
