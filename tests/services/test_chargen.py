"""chargen: the pattern, its length in a datagram, and pages that are sent without a copy."""

from itertools import islice

from netd.testing import PEER, datagram
from netd.transport.stream import stream_socket
from tests.support.services import service


def test_chargen_is_the_ring_of_rfc_864() -> None:
    data = b"".join(islice(service("chargen").stream(PEER), 3))
    lines = data.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0] == rb"""!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"""
    assert lines[1] == rb""""#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi"""
    ring = bytes(range(33, 127)) + b" "
    for number, line in enumerate(lines):
        assert line == bytes(ring[(number + i) % 95] for i in range(72))


def test_chargen_never_ends_and_never_reads() -> None:
    assert all(islice(service("chargen").stream(PEER), 1000))


def test_chargen_answers_a_datagram_with_up_to_512_characters() -> None:
    chargen = service("chargen")
    answers = [datagram(chargen, b"x") for _ in range(2000)]
    lengths = {len(answer) for answer in answers if answer is not None}
    assert None not in answers
    assert min(lengths) < 10
    assert 505 < max(lengths) <= 512


def test_pages_of_chargen_are_sent_without_a_copy() -> None:
    page = next(service("chargen").stream(PEER))
    assert page is not None
    assert len(page) % 7030 == 0
    assert len(page) >= stream_socket.CHUNK
