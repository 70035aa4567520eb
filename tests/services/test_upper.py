"""upper, over streams and datagrams."""

from hypothesis import given
from hypothesis import strategies as st

from netd.testing import datagram, script
from tests.support.services import service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_upper_changes_ascii_letters_only(pieces: list[bytes]) -> None:
    upper = service("upper")
    begun = script(upper)
    for piece in pieces:
        wanted = bytes(o - 32 if 97 <= o <= 122 else o for o in piece)
        begun.receives(piece).sends(wanted)
        assert datagram(upper, piece) == wanted
    begun.receives_eof().ends()
