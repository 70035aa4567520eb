"""Filters of addresses on real sockets: what the kernel discards, exchanges at once, and refuses to take."""

import ctypes
import errno
import os
import select
import socket
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from netd.addresses import host_text, parse_address
from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.address_filter import Instruction, compile_filter
from netd.admission.addresses import Prefixes, parse_source
from netd.transport.socket_filter import attach, detach, may_attach_to_tcp
from tests.support.namespaces import in_namespace
from tests.support.sockets import has_ipv6
from tests.support.users import ALEX, as_user
from tests.support.waiting import until

_SO_GET_FILTER, _SO_LOCK_FILTER, _SO_MEMINFO = 26, 44, 55  # asm-generic/socket.h
_MEMORY = Path("/proc/sys/net/core/optmem_max")  # in octets, for all options of a socket
_SYN_SENT = 2  # the first octet of TCP_INFO

Program = tuple[Instruction, ...]


def program(banned: Iterable[str] = (), **rules: list[str]) -> Program:
    sources = [parse_source(text) for text in banned]
    return compile_filter(Access.of(AccessRules.model_validate(rules)), sources, Prefixes(())).program


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def udp(stack: ExitStack, host: str) -> socket.socket:
    """A UDP socket with a free port; `*` is dual-stack."""
    family = socket.AF_INET6 if ":" in host or host == "*" else socket.AF_INET
    opened = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    if host == "*":
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.bind(("::" if host == "*" else host, 0))
    opened.setblocking(False)
    return opened


def received(server: socket.socket, client: socket.socket) -> bool:
    """Whether a datagram of the client is received; else it is discarded, which the kernel counts."""
    before = drops(server)
    to = "::1" if client.family == socket.AF_INET6 else "127.0.0.1"
    client.sendto(client.getsockname()[0].encode(), (to, server.getsockname()[1]))
    until(lambda: drops(server) != before or select.select([server], [], [], 0)[0])
    try:
        data, sender = server.recvfrom(100)
    except BlockingIOError:
        return False
    assert sender[0].removeprefix("::ffff:").encode() == data
    return True


def drops(opened: socket.socket) -> int:
    """How many packets the kernel has discarded at a socket."""
    return array("I", opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[8]


@pytest.mark.parametrize("host", ["127.0.0.1", "*"])
def test_each_datagram_is_judged(stack: ExitStack, host: str) -> None:
    server, one, other = udp(stack, host), udp(stack, "127.0.0.1"), udp(stack, "127.0.0.2")
    assert [received(server, client) for client in (one, other)] == [True, True]
    for given, expected in (
        (program(deny=["127.0.0.2"]), [True, False]),
        (program(allow=["127.0.0.2"]), [False, True]),
        (program(["127.0.0.1"]), [False, True]),
        (program(allow=["::/0"]), [False, False]),
        (program(deny=["::/0"]), [True, True]),
        (program(), [True, True]),
    ):
        attach(server, given)
        assert [received(server, client) for client in (one, other, one, other)] == expected * 2
    attach(server, program(deny=["any"]))
    for _ in range(2):
        detach(server)
        assert received(server, one)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "*"])
def test_ipv6_datagrams_are_judged_too(stack: ExitStack, host: str) -> None:
    server, client = udp(stack, host), udp(stack, "::1")
    for given, expected in (
        (program(deny=["::1"]), False),
        (program(deny=["::2", "::/128", "127.0.0.0/8"]), True),
        (program(allow=["::1"]), True),
        (program(allow=["0.0.0.0/0"]), False),
        (program(["::7"]), False),
    ):
        attach(server, given)
        assert received(server, client) is expected


def test_datagrams_of_a_dual_stack_socket_are_judged_by_their_own_family(stack: ExitStack) -> None:
    server = udp(stack, "*")
    clients = [udp(stack, "127.0.0.1"), *([udp(stack, "::1")] if has_ipv6() else [])]
    for denied, expected in (("127.0.0.1", [False, True]), ("::1", [True, False]), ("local", [False, False])):
        attach(server, program(deny=[denied]))
        assert [received(server, client) for client in clients] == expected[: len(clients)]


def test_kernel_judges_arbitrary_addresses_as_access_rules_do() -> None:
    random = Random(4)

    def network() -> str:
        first, local, bits = random.choice([(10 << 24, 8, 32), (0x20010DB8 << 96, 32, 128), (0xFD << 120, 8, 128)])
        length = random.choice([bits, bits - 8, bits - 7, bits // 2, bits // 2 + 8])
        first |= random.getrandbits(length - local) << bits - length
        return f"{host_text(first.to_bytes(bits // 8))}/{length}"

    def judge(server: socket.socket, number: int) -> None:
        allowed = ["10.0.0.0/9", "2001:db8::/33", "fd00::/9"]
        rules = AccessRules.model_validate(
            {"allow": [*allowed, *(network() for _ in range(number))], "deny": [network() for _ in range(number)]}
        )
        access = Access.of(rules)
        attach(server, compile_filter(access, (), Prefixes(())).program)
        networks = [one for entry in (*rules.allow, *rules.deny) for one in entry.networks]
        verdicts = set()
        for one in random.sample(networks, min(len(networks), 60)):
            for place in (one.first - 1, one.first, one.last, one.last + 1):
                host = host_text(place.to_bytes(one.bits // 8))
                with ExitStack() as stack:
                    try:
                        client = udp(stack, host)
                    except OSError as error:
                        assert error.errno == errno.EADDRNOTAVAIL  # a neighbour of the local networks
                        continue
                    allows = access.allows(parse_address(host))
                    assert received(server, client) is allows, host
                    verdicts.add(allows)
        assert verdicts == {True, False}

    def judge_all() -> None:
        with ExitStack() as stack:
            server = udp(stack, "*")
            for number in (1, 3, 30, 100):
                judge(server, number)

    in_namespace(
        judge_all, *(f"route add local {network} dev lo" for network in ("10.0.0.0/8", "2001:db8::/32", "fd00::/8"))
    )


def test_filters_are_exchanged_while_datagrams_arrive(stack: ExitStack) -> None:
    server, served, denied = udp(stack, "127.0.0.1"), udp(stack, "127.0.0.1"), udp(stack, "127.0.0.2")
    many = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(0, 400, 2)]
    programs = [program(deny=["127.0.0.2"]), program(deny=["127.0.0.2", *many]), program(allow=["127.0.0.1"])]
    attach(server, programs[0])
    ended = threading.Event()
    exchanged = 0

    def exchange() -> None:
        nonlocal exchanged
        while not ended.is_set():
            attach(server, programs[exchanged % 3])
            exchanged += 1

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        sent = 0
        while exchanged < 300 or sent < 300:
            assert not received(server, denied)
            assert received(server, served)
            sent += 1
    finally:
        ended.set()
        thread.join()


# TCP.


@pytest.fixture
def listener(stack: ExitStack) -> socket.socket:
    """A listener on IPv4, in a process with the right to attach a filter to it."""
    opened = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    opened.settimeout(10)
    try:
        attach(opened, program())
    except PermissionError:
        if os.environ.get("NETD_REQUIRE_TOOLS"):
            raise
        pytest.skip("needs CAP_NET_ADMIN")
    return opened


def connecting(stack: ExitStack, listener: socket.socket, host: str) -> socket.socket:
    """A client that has sent its SYN, and is connected, or the listener has discarded that."""
    client = stack.enter_context(socket.socket())
    client.bind((host, 0))
    client.setblocking(False)
    before = drops(listener)
    assert client.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
    until(lambda: drops(listener) != before or not has_no_answer(client))
    client.settimeout(20)
    return client


def has_no_answer(client: socket.socket) -> bool:
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == bytes([_SYN_SENT])


def accept(stack: ExitStack, listener: socket.socket, client: socket.socket) -> socket.socket:
    connection, peer = listener.accept()
    assert peer == client.getsockname()
    connection.settimeout(20)
    return stack.enter_context(connection)


def test_listener_answers_no_denied_source(stack: ExitStack, listener: socket.socket) -> None:
    attach(listener, program(deny=["127.0.0.2"]))
    denied, served = (connecting(stack, listener, host) for host in ("127.0.0.2", "127.0.0.3"))
    accept(stack, listener, served)
    assert has_no_answer(denied)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.slow  # the client sends its SYN again after a second
def test_refused_client_is_served_once_the_filter_is_exchanged(stack: ExitStack, listener: socket.socket) -> None:
    attach(listener, program(["127.0.0.2"]))
    client = connecting(stack, listener, "127.0.0.2")
    assert has_no_answer(client)
    attach(listener, program())
    accept(stack, listener, client).sendall(b"served")
    assert client.recv(10) == b"served"


def test_exchange_at_a_listener_ends_no_connection(stack: ExitStack, listener: socket.socket) -> None:
    """Accepted connections have the filter of their handshake for good, also those that were only queued."""
    before, queued = (connecting(stack, listener, "127.0.0.2") for _ in range(2))
    open_before = accept(stack, listener, before)
    attach(listener, program(deny=["127.0.0.2"]))
    open_queued = accept(stack, listener, queued)
    for client, connection in ((before, open_before), (queued, open_queued)):
        for sender, receiver in ((client, connection), (connection, client)):
            sender.sendall(b"on")
            assert receiver.recv(10) == b"on"
        assert filter_length(connection) == len(program())
    later = connecting(stack, listener, "127.0.0.3")
    open_later = accept(stack, listener, later)
    assert filter_length(open_later) == filter_length(listener) == len(program(deny=["127.0.0.2"]))
    later.sendall(b"new")
    assert open_later.recv(10) == b"new"


def filter_length(opened: socket.socket) -> int:
    """How many instructions the filter of a socket has (SO_GET_FILTER)."""
    length = ctypes.c_uint(0)
    get = ctypes.CDLL(None, use_errno=True).getsockopt
    assert get(opened.fileno(), socket.SOL_SOCKET, _SO_GET_FILTER, None, ctypes.byref(length)) == 0
    return length.value


# Errors.


def as_ordinary_user(do: Callable[[], object]) -> None:
    if os.geteuid() == 0:
        as_user(ALEX, do)
    else:
        do()


def test_ordinary_user_may_filter_datagrams_and_on_older_kernels_connections(stack: ExitStack) -> None:
    def attach_both() -> None:
        test_each_datagram_is_judged(stack, "*")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            try:
                attach(listener, program(deny=["127.0.0.2"]))
            except OSError as error:
                assert error.errno == errno.EPERM
                assert not may_attach_to_tcp()
                return
            assert may_attach_to_tcp()
            test_exchange_at_a_listener_ends_no_connection(stack, listener)

    as_ordinary_user(attach_both)


def test_locked_filter_is_an_error_and_stays(stack: ExitStack) -> None:
    server, client = udp(stack, "127.0.0.1"), udp(stack, "127.0.0.1")
    attach(server, program(deny=["127.0.0.2"]))
    server.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
    with pytest.raises(PermissionError):
        attach(server, program(deny=["any"]))
    with pytest.raises(PermissionError):
        detach(server)
    assert received(server, client)


def test_filter_for_which_there_is_no_memory_leaves_the_one_before() -> None:
    def fill() -> None:
        if not _MEMORY.exists():
            pytest.skip("before Linux 6.8 the limit is one of the whole host")
        _MEMORY.write_text("20480")
        with ExitStack() as stack:
            server, client = udp(stack, "127.0.0.1"), udp(stack, "127.0.0.2")
            small = program(deny=["127.0.0.2", *(f"10.0.{n}.0/24" for n in range(0, 256, 2))])
            for _ in range(3):
                attach(server, small)
            with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
                attach(server, program(deny=[f"10.{n >> 8}.{n & 255}.0/24" for n in range(0, 3000, 2)]))
            assert not received(server, client)

    in_namespace(fill)


@pytest.mark.slow  # as many networks as there can be
@pytest.mark.parametrize(
    "banned", ["10.{}.{}.1", "223.{}.{}.1", "2a02:{:x}{:x}:ffff:fff7::/64", "2a{:02x}:{}:ffff:fff7::/64"]
)
def test_largest_filters_are_accepted_and_exchanged(stack: ExitStack, banned: str) -> None:
    if not _MEMORY.exists() or int(_MEMORY.read_text()) < 131072:
        pytest.skip("before Linux 6.8 the limit of memory is lower")
    server, client = udp(stack, "127.0.0.1"), udp(stack, "127.0.0.2")
    largest = program([banned.format(n >> 8, n & 255) for n in range(4096)], deny=["127.0.0.2"])
    assert 4080 < len(largest) <= 4096
    for _ in range(3):
        attach(server, largest)
        assert not received(server, client)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        attach(server, (*largest, *largest)[:4097])


def test_unix_sockets_have_no_filter(stack: ExitStack) -> None:
    for opened in map(stack.enter_context, socket.socketpair()):
        with pytest.raises(AssertionError):
            attach(opened, program())
