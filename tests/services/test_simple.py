"""Echo, discard, chargen, upper."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from netd.transport.stream import stream_socket
from tests.support import PEER, converse, service

segments = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


@given(segments)
def test_echo_returns_every_octet_before_it_closes(pieces: list[bytes]) -> None:
    echo = service("echo")
    assert converse(echo.stream(PEER), pieces) == b"".join(pieces)
    assert [echo.datagram(piece, PEER) for piece in pieces] == pieces
    assert echo.datagram(b"", PEER) == b""


@given(segments)
def test_discard_says_nothing(pieces: list[bytes]) -> None:
    discard = service("discard")
    assert converse(discard.stream(PEER), pieces) == b""
    assert [discard.datagram(piece, PEER) for piece in pieces] == [None] * len(pieces)


@given(segments)
def test_upper_changes_ascii_letters_only(pieces: list[bytes]) -> None:
    upper = service("upper")
    wanted = b"".join(bytes(o - 32 if 97 <= o <= 122 else o for o in piece) for piece in pieces)
    assert converse(upper.stream(PEER), pieces) == wanted
    assert b"".join(upper.datagram(piece, PEER) for piece in pieces) == wanted


def test_chargen_is_the_ring_of_rfc_864() -> None:
    data = b"".join(islice(service("chargen").stream(PEER), 3))
    lines = data.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0] == rb"""!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"""
    assert lines[1] == rb""""#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi"""
    ring = bytes(range(33, 127)) + b" "
    for number, line in enumerate(lines):
        assert line == bytes(ring[(number + i) % 95] for i in range(72))


def test_chargen_never_ends_and_never_asks() -> None:
    assert all(islice(service("chargen").stream(PEER), 1000))


def test_chargen_answers_a_datagram_with_up_to_512_characters() -> None:
    chargen = service("chargen")
    answers = [chargen.datagram(b"x", PEER) for _ in range(2000)]
    lengths = {len(answer) for answer in answers}
    assert min(lengths) < 10
    assert 505 < max(lengths) <= 512


def test_no_transport_has_to_copy_pages_of_chargen_together() -> None:
    page = next(service("chargen").stream(PEER))
    assert page is not None
    assert len(page) % 7030 == 0
    assert len(page) >= stream_socket.CHUNK
