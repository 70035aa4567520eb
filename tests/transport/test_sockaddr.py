"""Peers and senders made from the addresses and control messages of the kernel."""

import errno
import os
import socket
import sys
from pathlib import Path

import pytest

from netd.peer import Credentials, Peer
from netd.transport.sockaddr import (
    IN6_PKTINFO,
    IN_PKTINFO,
    IP_PKTINFO,
    OVERFLOW_USER,
    Sender,
    connection_credentials,
    connection_groups,
    inet_peer,
    message_credentials,
    numeric_sockaddr,
    parse_sender,
    path_text,
    sender_peer,
    sent_to,
    unix_peer,
)

NONE = bytes(4)
A, B, GROUP = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 1]), bytes([224, 0, 0, 1])
MAPPED = bytes(10) + b"\xff\xff"
GLOBAL = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
LINK = socket.inet_pton(socket.AF_INET6, "fe80::7")
ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
IN, IN6 = (socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)


@pytest.mark.parametrize(
    ("local", "destination", "expected"),
    [
        (B, B, (B, False)),
        (B, GROUP, (B, True)),
        (B, b"\xff\xff\xff\xff", (B, True)),
        (NONE, B, (B, False)),
        (NONE, GROUP, (GROUP, True)),
    ],
)
def test_local_address_is_the_one_that_the_kernel_gives_else_the_destination(
    local: bytes, destination: bytes, expected: tuple[bytes, bool]
) -> None:
    assert sent_to(local, destination) == expected


@pytest.mark.parametrize(
    ("address", "infos", "sender"),
    [
        (A, [], Sender(A, 5, b"", non_unicast=False)),
        (A, [(*IN, IN_PKTINFO.pack(3, B, B))], Sender(A, 5, B, non_unicast=False)),
        (A, [(*IN, IN_PKTINFO.pack(3, B, GROUP))], Sender(A, 5, B, non_unicast=True)),
        (A, [(*IN, IN_PKTINFO.pack(3, B, B)[:-1])], Sender(A, 5, b"", non_unicast=False)),
        (A, [(socket.IPPROTO_IP, socket.IP_TTL, b"x" * IN_PKTINFO.size)], Sender(A, 5, b"", non_unicast=False)),
        (GLOBAL, [(*IN, IN_PKTINFO.pack(3, B, B))], Sender(GLOBAL, 5, b"", non_unicast=False)),
        (GLOBAL, [(*IN6, IN6_PKTINFO.pack(GLOBAL, 3))], Sender(GLOBAL, 5, GLOBAL, non_unicast=False)),
        (LINK, [(*IN6, IN6_PKTINFO.pack(LINK, 3))], Sender(LINK, 5, LINK, non_unicast=False, interface=3)),
        (LINK, [(*IN6, IN6_PKTINFO.pack(ALL_NODES, 3))], Sender(LINK, 5, ALL_NODES, non_unicast=True, interface=3)),
        # On a socket of both families an IPv4 sender is mapped, and both messages come.
        (
            MAPPED + A,
            [(*IN, IN_PKTINFO.pack(3, B, GROUP)), (*IN6, IN6_PKTINFO.pack(MAPPED + GROUP, 3))],
            Sender(A, 5, B, non_unicast=True),
        ),
        (MAPPED + A, [(*IN6, IN6_PKTINFO.pack(MAPPED + B, 3))], Sender(A, 5, B, non_unicast=False)),
        (MAPPED + A, [(*IN6, IN6_PKTINFO.pack(GLOBAL, 3))], Sender(A, 5, b"", non_unicast=False)),
    ],
)
def test_sender_is_parsed_from_its_address_and_packet_information(
    address: bytes, infos: list[tuple[int, int, bytes]], sender: Sender
) -> None:
    assert parse_sender(address, 5, infos) == sender


def test_peer_of_a_sender_has_the_local_address_or_else_that_of_the_socket() -> None:
    assert sender_peer(Sender(A, 5, B, non_unicast=False), "0.0.0.0", 7) == Peer("udp", "192.0.2.7", 5, "192.0.2.1", 7)
    assert sender_peer(Sender(A, 5, b"", non_unicast=False), "127.0.0.1", 7).local_host == "127.0.0.1"


def test_ipv4_peer_of_an_ipv6_socket_is_ipv4() -> None:
    peer = inet_peer("tcp", ("::ffff:192.0.2.7", 5, 0, 0), ("::ffff:192.0.2.1", 7, 0, 0))
    assert peer == Peer("tcp", "192.0.2.7", 5, "192.0.2.1", 7)


def test_peers_of_one_source_share_their_addresses() -> None:
    one, other = (inet_peer("tcp", (f"192.0.2.{number}", 5), ("192.0.2.1", 7)) for number in (7, int("7")))
    assert one.host is other.host
    assert one.local_host is other.local_host


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("/x/s", "/x/s"),
        (b"/x/s", "/x/s"),
        (b"\0name", "@name"),
        (b"\0a\0b\xff", "@a\0b\\xff"),
        ("", ""),
        (None, ""),
    ],
)
def test_unix_address_as_text(address: object, text: str) -> None:
    assert path_text(address) == text
    assert unix_peer("unixgram", address, "/x/netd", None) == Peer("unixgram", text, 0, "/x/netd", 0)


def test_credentials_and_groups_of_a_connection_are_those_of_its_peer() -> None:
    one, other = socket.socketpair()
    with one, other:
        credentials = connection_credentials(one)
        assert credentials == Credentials(os.getpid(), os.geteuid(), os.getegid())
        assert set(connection_groups(one, credentials)) == {os.getegid(), *os.getgroups()}


def test_first_group_is_all_that_is_known_where_the_kernel_gives_no_groups() -> None:
    with socket.socket(socket.AF_INET) as opened:  # it has no SO_PEERGROUPS, as an older kernel
        assert list(connection_groups(opened, Credentials(1, 2, 3))) == [3]


def test_credentials_of_a_datagram_are_those_of_its_sender(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{tmp_path}/s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sender.sendto(b"x", f"{tmp_path}/s")
        _, ancillary, _, _ = receiver.recvmsg(1, 100)
    assert message_credentials(ancillary) == Credentials(os.getpid(), os.getuid(), os.getgid())


@pytest.mark.parametrize("length", [0, 11])
def test_datagram_without_whole_credentials_has_none(length: int) -> None:
    assert message_credentials([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, bytes(length))]) is None
    assert message_credentials([(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(12))]) is None


def test_datagram_that_came_before_so_passcred_has_no_credentials() -> None:
    unknown = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, OVERFLOW_USER, OVERFLOW_USER))
    assert message_credentials([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, unknown)]) is None


def test_zone_of_an_address_is_the_number_of_its_interface() -> None:
    lo = socket.if_nametoindex("lo")
    assert numeric_sockaddr("fe80::1%lo", 80) == numeric_sockaddr(f"fe80::1%{lo}", 80) == ("fe80::1", 80, 0, lo)
    assert numeric_sockaddr("2001:db8::7", 80) == ("2001:db8::7", 80)
    assert numeric_sockaddr("192.0.2.7", 80) == ("192.0.2.7", 80)
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
        numeric_sockaddr("fe80::1%no-such", 80)
