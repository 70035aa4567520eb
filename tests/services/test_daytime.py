"""daytime, over streams and datagrams, and its options."""

from netd.testing import datagram, script
from tests.support.services import service


def test_daytime_is_one_line_and_ignores_what_comes() -> None:
    daytime = service("daytime")
    script(daytime).sends(b"Tuesday, November 14, 2023 22:13:20-UTC\r\n").ends()
    assert datagram(daytime, b"") == b"Tuesday, November 14, 2023 22:13:20-UTC\r\n"


def test_daytime_in_a_zone_and_format() -> None:
    daytime = service("daytime", timezone="Asia/Shanghai", format="%d %b %y %H:%M:%S %Z")
    script(daytime).sends(b"15 Nov 23 06:13:20 CST\r\n").ends()
