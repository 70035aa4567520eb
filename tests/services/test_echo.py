"""echo, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from netd.testing import datagram, script
from tests.support.services import service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_echo_returns_every_octet_before_it_closes(pieces: list[bytes]) -> None:
    echo = service("echo")
    begun = script(echo)
    for piece in pieces:
        begun.receives(piece).sends(piece)
        assert datagram(echo, piece) == piece
    begun.receives_eof().ends()
    assert datagram(echo, b"") == b""
