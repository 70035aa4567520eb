"""daytime, over streams and datagrams, and its options."""

from tests.support import PEER, converse, service


def test_daytime_is_one_line_and_ignores_what_comes() -> None:
    daytime = service("daytime")
    assert converse(daytime.stream(PEER), [b"x"]) == b"Tuesday, November 14, 2023 22:13:20-UTC\r\n"
    assert daytime.datagram(b"", PEER) == b"Tuesday, November 14, 2023 22:13:20-UTC\r\n"


def test_daytime_in_a_zone_and_format() -> None:
    daytime = service("daytime", timezone="Asia/Shanghai", format="%d %b %y %H:%M:%S %Z")
    assert converse(daytime.stream(PEER), []) == b"15 Nov 23 06:13:20 CST\r\n"
