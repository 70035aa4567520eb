"""discard, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from netd.testing import datagram, script
from tests.support.services import service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_discard_sends_nothing(pieces: list[bytes]) -> None:
    discard = service("discard")
    begun = script(discard)
    for piece in pieces:
        begun.receives(piece)
        assert datagram(discard, piece) is None
    begun.receives_eof().ends()
