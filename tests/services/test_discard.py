"""discard, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support import PEER, converse, service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_discard_says_nothing(pieces: list[bytes]) -> None:
    discard = service("discard")
    assert converse(discard.stream(PEER), pieces) == b""
    assert [discard.datagram(piece, PEER) for piece in pieces] == [None] * len(pieces)
