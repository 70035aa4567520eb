"""A peer as text, and its source."""

import pytest

from netd.peer import Credentials, Peer


def test_remote_is_the_peer_as_text() -> None:
    assert Peer("tcp", "192.0.2.7", 5).remote == "192.0.2.7:5"
    assert Peer("udp", "2001:db8::1", 5).remote == "[2001:db8::1]:5"
    assert Peer("unix", "", credentials=Credentials(1, 2, 3)).remote == "pid=1,uid=2,gid=3"
    assert Peer("unixgram", "").remote == "unnamed"
    assert Peer("unixgram", "/run/\x1b[31mred\n").remote == "/run/\\x1b[31mred\\n"
    assert [Peer("tcp", host).family for host in ("::1", "127.0.0.1")] == ["ipv6", "ipv4"]
    assert Peer("unix", "/a:b").family == "unix"


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (Peer("udp", "192.0.2.7", 53), "192.0.2.7"),
        (Peer("tcp", "2001:db8::1", 53), "2001:db8::1"),
        (Peer("unix", "", credentials=Credentials(17, 0, 0)), "uid=0"),
        (Peer("unixgram", "/run/\x1b", credentials=Credentials(17, 0, 0)), "/run/\\x1b"),
        (Peer("unixgram", ""), "unnamed"),
    ],
)
def test_source_is_the_address_without_the_port(peer: Peer, source: str) -> None:
    assert peer.source == source
