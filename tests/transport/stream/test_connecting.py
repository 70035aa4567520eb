"""Connecting to a target: its addresses side by side, time-outs, and what is left over."""

import errno
import itertools
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.services.forward.target import Target
from netd.transport.stream.connecting import Attempt, ConnectError, interleaved
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.stream.targets import closed_port, full, listener, url_of

Result = "Future[socket.socket | ConnectError]"


class Connector:
    """Makes attempts in the thread of a loop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.attempt: Attempt

    def connect(
        self, url: str, *hosts: str, timeout: float = 20.0, bind: str | None = None, late: bool = False
    ) -> "Future[socket.socket | ConnectError]":
        """Connect to this URL; a name in it has the addresses ``hosts``, ``late`` some time after it was asked for."""
        found: Future[socket.socket | ConnectError] = Future()

        def resolve(then: Callable[[tuple[str, ...]], object]) -> tuple[str, ...] | None:
            if late:
                self.server.loop.call(lambda: then(hosts))
            return None if late else hosts

        def begin() -> None:
            arguments = self.server.loop, Target.parse(url), timeout, bind, resolve, found.set_result
            self.attempt = Attempt(*arguments)
            try:
                if opened := self.attempt.begin():
                    found.set_result(opened)
            except ConnectError as error:
                found.set_result(error)

        self.server.loop.call(begin)
        return found

    def connected(self, *arguments: object, **options: object) -> str:
        """The address that is connected to, or why none is."""
        result = self.connect(*arguments, **options).result(20)  # type: ignore[arg-type]
        assert self.server.loop.wheel.due == float("inf"), "nothing is timed"
        if isinstance(result, ConnectError):
            return f"{result.why}: {result}"
        with closing(result):
            assert not result.getblocking()
            return "{}:{}".format(*result.getpeername()) if result.family != socket.AF_UNIX else result.getpeername()


@pytest.fixture
def connector(server: Server) -> Connector:
    return Connector(server)


def test_link_local_address_is_reached_through_its_interface() -> None:
    [address] = interleaved(["fe80::1%lo"], 80)
    assert address.sockaddr == ("fe80::1", 80, 0, socket.if_nametoindex("lo"))
    with pytest.raises(ConnectError, match="ENODEV"):
        interleaved(["fe80::1%no-such"], 80)


HOST = st.integers(1, 254).flatmap(lambda one: st.sampled_from([f"192.0.2.{one}", f"2001:db8::{one:x}"]))


@given(st.lists(HOST, unique=True))
def test_families_take_turns_beginning_with_that_of_the_first(hosts: list[str]) -> None:
    found = [address.sockaddr[0] for address in interleaved(hosts, 80)]
    assert sorted(found) == sorted(hosts)
    assert found[:1] == hosts[:1]
    for is_ipv6 in (True, False):
        assert [one for one in found if (":" in one) == is_ipv6] == [one for one in hosts if (":" in one) == is_ipv6]
    both = 2 * min(sum(":" in one for one in hosts), sum("." in one for one in hosts))
    assert all((":" in here) != (":" in there) for here, there in itertools.pairwise(found[:both]))


def test_connection_is_made(connector: Connector, tmp_path: Path) -> None:
    with listener() as one:
        assert connector.connected(url_of(one)) == url_of(one)[6:]
    with listener(f"{tmp_path}/s") as one:
        assert connector.connected(f"unix://{tmp_path}/s") == f"{tmp_path}/s"


def test_reason_is_told_where_it_is_not_made(connector: Connector, tmp_path: Path) -> None:
    with closed_port() as one:
        assert connector.connected(url_of(one)) == "refused: ECONNREFUSED"
    assert connector.connected(f"unix://{tmp_path}/s") == "refused: ENOENT"
    (tmp_path / "file").write_text("")
    assert connector.connected(f"unix://{tmp_path}/file") == "refused: ECONNREFUSED"
    assert connector.connected("tcp://name:80") == "unresolved: name has no address"
    assert connector.connected("tcp://name:80", late=True) == "unresolved: name has no address"
    with listener() as one:
        wrong = connector.connected(url_of(one), bind="::1")
        assert wrong.startswith("error: cannot bind to ::1: ")
        unknown = connector.connected(url_of(one), bind="192.0.2.1")
        assert unknown == "error: cannot bind to 192.0.2.1: Cannot assign requested address"
        unknown = connector.connected(url_of(one).replace("127.0.0.1", "[::1]"), bind="fe80::1%none0")
        assert unknown == "error: cannot bind to fe80::1%none0: No such device"


@pytest.mark.slow  # waits for the time-out
def test_target_that_does_not_answer_is_given_up(connector: Connector) -> None:
    with full() as one:
        assert connector.connected(url_of(one), timeout=0.1) == "timeout: it did not answer in time"


@pytest.mark.slow  # waits until the second address is tried
@pytest.mark.parametrize("late", [False, True])
def test_address_that_does_not_answer_delays_the_next_one_for_a_moment(connector: Connector, late: bool) -> None:
    with full("127.0.0.2") as dead, socket.socket() as one:
        one.bind(("127.0.0.3", dead.getsockname()[1]))
        one.listen()
        found = connector.connected(url_of(dead).replace("127.0.0.2", "name"), "127.0.0.2", "127.0.0.3", late=late)
        assert found == url_of(one)[6:]


def test_address_that_refuses_does_not_delay_the_next_one(connector: Connector) -> None:
    with listener() as one:
        url = url_of(one).replace("127.0.0.1", "name")
        assert connector.connected(url, "127.0.0.9", "::1", "127.0.0.1") == url_of(one)[6:]


def test_local_address_is_the_one_that_is_set(connector: Connector) -> None:
    with listener() as one:
        opened = connector.connect(url_of(one), bind="127.0.0.5").result(20)
        assert isinstance(opened, socket.SocketType)
        with closing(opened), one.accept()[0]:
            assert opened.getsockname()[0] == "127.0.0.5"


def test_unix_socket_with_a_full_queue_is_waited_for(connector: Connector, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(socket.socket(socket.AF_UNIX))
        one.bind(f"{tmp_path}/s")
        one.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(f"{tmp_path}/s")
        found = connector.connect(f"unix://{tmp_path}/s")
        connector.server.settle()
        assert not found.done()
        one.accept()[0].close()
        opened = found.result(20)
        assert isinstance(opened, socket.SocketType)
        opened.close()
        assert connector.connected(f"unix://{tmp_path}/s", timeout=0.1) == "timeout: its queue is full"


def test_attempt_that_is_closed_leaves_nothing_and_tells_nothing(connector: Connector) -> None:
    loop = connector.server.loop
    with full() as one:
        waiting = connector.connect(url_of(one))
        until(lambda: loop.wheel.due < float("inf"))
        loop.call(connector.attempt.close)
        connector.server.settle()
        assert loop.wheel.due == float("inf")
    resolved = connector.connect("tcp://name:80", "127.0.0.1", late=True)
    loop.call(connector.attempt.close)
    connector.server.settle()
    assert not waiting.done()
    assert resolved.done() != (threading.active_count() < 0)


def test_socket_that_is_connected_to_itself_is_none(server: Server) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        attempt = Attempt(server.loop, Target.parse(url_of(one)), 1.0, None, lambda then: (), lambda result: None)
        assert attempt._error_of(one) == errno.ECONNREFUSED


def test_lack_of_descriptors_is_told(connector: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    with listener() as one:
        url = url_of(one)
        monkeypatch.setattr("netd.transport.stream.connecting.socket.SocketType", fail)
        result = connector.connect(url).result(20)
        monkeypatch.undo()
        assert isinstance(result, ConnectError)
        assert result.why == "no_resources"
