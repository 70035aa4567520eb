"""A member of a room: what is posted to it, and what is lost."""

import pytest

from netd.services.chat.member import Member, counted, key_of, line_end
from netd.testing import NOW, PEER, UDP_PEER


def test_notice_with_the_number_of_lost_lines_precedes_the_next_ones() -> None:
    posted: list[bytes] = []
    reads = [True]

    def post(data: bytes) -> bool:
        if reads[0]:
            posted.append(data)
        return reads[0]

    member = Member(PEER, post, NOW, b"\n")
    member.deliver(b"one\ntwo\n", 2)
    reads[0] = False
    member.deliver(b"three\nfour\nfive\n", 3)
    member.deliver(b"six\n")
    reads[0] = True
    member.deliver(b"seven\neight\n", 2)
    member.deliver(b"nine\n")
    assert posted == [
        b"one\ntwo\n",
        b"* 4 messages lost, since you read too slowly\nseven\neight\n",
        b"nine\n",
    ]


def test_messages_above_the_rate_are_counted_until_the_notice() -> None:
    member = Member(PEER, lambda data: True, NOW, b"\n")
    assert [member.may_speak(NOW) for _ in range(102)] == [True] * 100 + [False] * 2
    assert member.flood_notice() == "* 2 messages not shown, since you wrote too fast"
    assert member.flood_notice() == ""
    assert [member.may_speak(NOW + 1) for _ in range(21)] == [True] * 20 + [False]


def test_member_is_the_same_at_every_endpoint() -> None:
    assert key_of(PEER) == key_of(PEER._replace(local_port=99)) != key_of(UDP_PEER)


@pytest.mark.parametrize(("own", "others"), [(b"\n", b"\n"), (b"\r\n", b"\r\n"), (b"\r\0", b"\r\n"), (b"", b"\n")])
def test_lines_end_as_the_member_ends_its_own(own: bytes, others: bytes) -> None:
    member = Member(PEER, lambda data: True, NOW, b"\n")
    member.set_line_end(own)
    assert member.with_line_end("x") == b"x" + others
    assert line_end(own) == (others if own else b"")


def test_number_of_messages_has_its_noun() -> None:
    assert [counted(number) for number in (1, 2)] == ["1 message", "2 messages"]
