"""Telnet commands are removed, and take no memory."""

from netd.telnet import TelnetFilter


def test_telnet_commands_are_removed_and_a_doubled_iac_is_one_octet() -> None:
    strip = TelnetFilter().strip
    assert strip(b"a\xff\xfb\x01b\xff\xfa\x18\xff\xff\x00\xff\xf0c\xff\xf1d\xff\xffe") == b"abcd\xffe"


def test_telnet_filter_keeps_no_bytes_of_an_endless_subnegotiation() -> None:
    telnet = TelnetFilter()
    assert telnet.strip(b"\xff\xfa") == b""
    assert telnet.strip(b"x" * 100_000) == b""
    assert telnet.strip(b"\xff\xf0back") == b"back"
