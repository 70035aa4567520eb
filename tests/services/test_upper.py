"""upper, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support import PEER, converse, service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_upper_changes_ascii_letters_only(pieces: list[bytes]) -> None:
    upper = service("upper")
    wanted = b"".join(bytes(o - 32 if 97 <= o <= 122 else o for o in piece) for piece in pieces)
    assert converse(upper.stream(PEER), pieces) == wanted
    assert b"".join(upper.datagram(piece, PEER) for piece in pieces) == wanted
