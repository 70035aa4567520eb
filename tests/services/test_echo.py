"""echo, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support import PEER, converse, service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_echo_returns_every_octet_before_it_closes(pieces: list[bytes]) -> None:
    echo = service("echo")
    assert converse(echo.stream(PEER), pieces) == b"".join(pieces)
    assert [echo.datagram(piece, PEER) for piece in pieces] == pieces
    assert echo.datagram(b"", PEER) == b""
