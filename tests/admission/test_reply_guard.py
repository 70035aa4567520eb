"""The UDP reply guard, without a socket."""

import pytest

from netd.addresses import parse_address
from netd.admission.reply_guard import EXPLAINED, Loops, objection

OURS = frozenset({7, 7007, 40000})


@pytest.mark.parametrize(
    ("address", "port", "to_many", "minds"),
    [
        ("192.0.2.7", 5353, False, None),
        ("2001:db8::7", 1024, False, None),
        ("127.0.0.1", 65535, False, None),
        ("192.0.2.7", 0, False, "source_port"),
        ("192.0.2.7", 1023, False, "source_port"),
        ("192.0.2.7", 7, False, "source_port"),
        ("192.0.2.7", 7007, False, "source_port"),
        ("2001:db8::7", 40000, False, "source_port"),
        ("0.0.0.0", 5353, False, "source_address"),
        ("0.1.2.3", 5353, False, "source_address"),
        ("224.0.0.1", 5353, False, "source_address"),
        ("239.255.255.255", 5353, False, "source_address"),
        ("240.0.0.1", 5353, False, "source_address"),
        ("255.255.255.255", 5353, False, "source_address"),
        ("::ffff:255.255.255.255", 5353, False, "source_address"),
        ("ff02::1", 5353, False, "source_address"),
        ("::", 5353, False, "source_address"),
        ("::1", 5353, False, None),
        ("223.255.255.255", 5353, False, None),
        ("1.0.0.0", 5353, False, None),
        ("192.0.2.7", 5353, True, "destination"),
    ],
)
def test_to_whom_there_is_no_answer(address: str, port: int, to_many: bool, minds: str | None) -> None:
    assert objection(parse_address(address), port, OURS, to_many=to_many) == minds
    assert minds is None or minds in EXPLAINED


def exchange(loops: Loops, number: int, pause: float = 0.001, peer: bytes = b"peer", start: float = 0.0) -> list[int]:
    """Have a peer send back what it got so often; at which exchange it was noticed."""
    return [n for n in range(number) if loops.exchanged(peer, b"x", b"x", start + n * pause)]


def test_a_peer_that_sends_back_what_it_got_is_named_once() -> None:
    loops = Loops()
    assert exchange(loops, 10_000) == [Loops.MOST]
    assert exchange(loops, 1000, start=1000.0) == [Loops.MOST], "after a pause it is another loop"


def test_a_probe_that_repeats_itself_is_no_loop() -> None:
    assert exchange(Loops(), 100_000, pause=0.2) == []


def test_a_peer_with_something_of_its_own_to_say_is_no_loop() -> None:
    loops = Loops()
    for number in range(10_000):
        word = b"%d" % number
        assert not loops.exchanged(b"peer", word, word, number / 1000)
    for number in range(10_000):
        assert not loops.exchanged(b"other", b"time?", b"12:00", number / 1000)


def test_others_do_not_hide_a_loop() -> None:
    loops = Loops()
    named = 0
    for number in range(2000):
        named += loops.exchanged(b"looper", b"x", b"x", number / 1000)
        for other in range(100):
            loops.exchanged(b"%d" % (number * 100 + other), b"y", b"y", number / 1000)
    assert named == 1
