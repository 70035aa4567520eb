"""The checks of targets: what each finds, what is told, and what is left over."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Context
from netd.services.forward import Forward
from netd.telemetry.forward_events import CheckWhy, ForwardEvents
from netd.transport.target_check import TargetChecks
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.stream.targets import closed_port, forwarding, full, listener, url_of


class Told(ForwardEvents):
    """Events that are kept."""

    def __init__(self) -> None:
        super().__init__("web")
        self.lines: list[tuple[str, ...]] = []

    def target_check_failed(self, target: str, why: CheckWhy, error: str) -> None:
        self.lines.append(("down", target, why, error))

    def target_check_passed(self, target: str) -> None:
        self.lines.append(("up", target))

    def target_recovered(self, target: str) -> None:
        self.lines.append(("recovered", target))


class Checked:
    """A service with checks, which run in the thread of the loop."""

    def __init__(self, server: Server, service: Forward) -> None:
        self.server, self.service, self.events = server, service, Told()
        self.loop = server.loop
        assert service.options.check
        self.checks = TargetChecks(self.loop, service, service.options.check, self.events)
        self.loop.call(self.checks.start)

    def down(self) -> tuple[str, str]:
        """Why the target is down, when it is, and the error."""
        until(lambda: self.events.lines)
        [(_, _, why, error)] = self.events.lines
        return why, error

    def condition(self, number: int = 0) -> str:
        return self.service.targets.states(self.loop.now)[number].condition

    def close(self) -> None:
        self.loop.call(self.checks.close)
        self.server.settle()


Start = Callable[..., Checked]


@pytest.fixture
def start(server: Server) -> Iterator[Start]:
    """Begins to check targets; a single result is enough."""
    made = []

    def begin(*to: str, context: Context | None = None, options: dict[str, Any] | None = None, **check: Any) -> Checked:
        check = {"every": "100ms", "rise": 1, "fall": 1, "timeout": "10s", **check}
        made.append(Checked(server, forwarding(*to, context=context, check=check, **(options or {}))))
        return made[-1]

    yield begin
    for one in made:
        one.close()
    assert server.loop.wheel.due == float("inf"), "nothing is timed"


class Backend:
    """A target that accepts, reads up to the octets ``after``, and says what it is told to; then it closes."""

    def __init__(self, *says: bytes, after: bytes = b"", stays: bool = False) -> None:
        self.got: list[bytes] = []
        self._says, self._after, self._stays = says, after, stays
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = url_of(self._socket)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                with client, suppress(OSError):
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    got = b""
                    while self._after not in got and (data := client.recv(4096)):
                        got += data
                    for piece in self._says:
                        client.sendall(piece)
                    if self._stays:
                        got += read_all(client)
                    self.got.append(got)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def backend(stack: ExitStack, *says: bytes, after: bytes = b"", stays: bool = False) -> Backend:
    made = Backend(*says, after=after, stays=stays)
    stack.callback(made.close)
    return made


def test_target_that_cannot_be_connected_to_is_down(start: Start, stack: ExitStack, tmp_path: Path) -> None:
    assert start(url_of(stack.enter_context(closed_port()))).down() == ("refused", "ECONNREFUSED")
    assert start(f"unix://{tmp_path}/none").down() == ("refused", "ENOENT")
    why = start(url_of(stack.enter_context(full())), timeout="50ms").down()
    assert why == ("timeout", "it did not answer in time")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_target_without_an_address_is_down(start: Start, scheme: str) -> None:
    gone = Context(resolve=lambda name, then: then((), "no such name"))
    found = start(f"{scheme}://db.example:80", context=gone, send="x").down()
    assert found == ("unresolved", "db.example has no address")
    never = Context(resolve=lambda name, then: None)
    found = start(f"{scheme}://db.example:80", context=never, timeout="50ms", send="x").down()
    assert found == ("timeout" if scheme == "udp" else "unresolved", "the name was not resolved in time")


@pytest.mark.parametrize(
    ("says", "stays", "timeout", "found"),
    [
        ((), False, "10s", ("unexpected", "expected '+PONG', got the end of the connection")),
        ((), True, "50ms", ("timeout", "it did not answer in time")),
        ((b"-ERR\x1b",), False, "10s", ("unexpected", "expected '+PONG', got '-ERR\\x1b'")),
        ((b"-ERR",), True, "50ms", ("unexpected", "expected '+PONG', got '-ERR'")),
        ((b"x" * 20000,), True, "10s", ("unexpected", f"expected '+PONG', got '{'x' * 48}'")),
    ],
)
def test_target_that_answers_something_else_or_nothing_is_down(
    start: Start, stack: ExitStack, says: tuple[bytes, ...], stays: bool, timeout: str, found: tuple[str, str]
) -> None:
    target = backend(stack, *says, after=b"PING\r\n", stays=stays)
    assert start(target.url, send="PING\r\n", expect="+PONG", timeout=timeout).down() == found


@pytest.mark.parametrize(
    ("check", "after", "says"),
    [
        ({}, b"", ()),
        ({"send": "PING\r\n"}, b"PING\r\n", (b"x",)),
        ({"send": "PING\r\n", "expect": "+PONG"}, b"PING\r\n", (b"ok ", b"+P", b"ONG\r\n")),
        ({"expect": "220 "}, b"", (b"220 mail.example\r\n",)),
    ],
)
def test_target_that_answers_as_expected_is_up_and_is_asked_again_and_again(
    start: Start, stack: ExitStack, check: dict[str, str], after: bytes, says: tuple[bytes, ...]
) -> None:
    target = backend(stack, *says, after=after)
    one = start(target.url, **check)
    until(lambda: len(target.got) >= 2)
    assert (one.events.lines, one.condition()) == ([], "up")
    assert set(target.got) == {after}


@pytest.mark.parametrize(
    ("version", "header"), [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")]
)
def test_check_begins_with_a_header_that_names_no_client(
    start: Start, stack: ExitStack, version: str, header: bytes
) -> None:
    asked = backend(stack, b"+PONG", after=b"PING")
    start(asked.url, options={"proxy_protocol": version}, send="PING", expect="+PONG")
    connected = backend(stack, after=b"\n" if version == "v1" else b"\x20\0\0\0")
    start(connected.url, options={"proxy_protocol": version})
    until(lambda: asked.got and connected.got)
    assert (asked.got[0], connected.got[0]) == (header + b"PING", header)


def test_target_of_datagrams_has_to_answer(start: Start, stack: ExitStack, tmp_path: Path) -> None:
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, f"{tmp_path}/far")):
        far = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        far.settimeout(10)
        far.bind(address)
        url = f"unixgram://{address}" if family == socket.AF_UNIX else url_of(far).replace("tcp", "udp")
        well = start(url, send="ping", expect="pong")
        for _ in range(2):
            question, sender = far.recvfrom(100)
            assert question == b"ping"
            far.sendto(b"a pong", sender)
        _, sender = far.recvfrom(100)
        assert (well.events.lines, well.condition()) == ([], "up")
        far.sendto(b"what", sender)
        assert well.down() == ("unexpected", "expected 'pong', got 'what'")
        well.close()
        assert start(url, send="", timeout="50ms").down() == ("timeout", "it did not answer in time")
        far.close()
        why, _ = start(url, send="ping").down()
        assert why == "refused"


def test_target_that_falls_and_rises_is_told_once_and_rests_no_more(start: Start, stack: ExitStack) -> None:
    far = stack.enter_context(listener())
    address, url = far.getsockname(), url_of(far)
    far.close()
    one = start(url, url_of(stack.enter_context(full())), fall=3, rise=2, timeout="50ms")
    targets = one.service.targets
    targets.failed(0, "refused", one.loop.now)
    until(lambda: ("down", url, "refused", "ECONNREFUSED") in one.events.lines)
    assert one.condition() == "down"
    assert one.service.candidates("stream", "192.0.2.7", one.loop.now) in ([], [1])
    with listener(address):
        until(lambda: ("recovered", url) in one.events.lines)
        assert one.condition() == "up"
        assert targets.usable(one.loop.now, [0]) == [0]
    until(lambda: one.condition(1) == "down")
    told = [line for line in one.events.lines if line[1] == url]
    assert [line[0] for line in told[:3]] == ["down", "up", "recovered"]
    assert [line[0] for line in one.events.lines if line[1] != url] == ["down"]


def test_next_process_continues_and_writes_what_it_has_found_anew(server: Server, stack: ExitStack) -> None:
    far = stack.enter_context(full())
    service = forwarding(url_of(far), check={"every": "100ms", "timeout": "50ms", "rise": 1, "fall": 1})
    service.targets.set_down(0, ("refused", server.loop.now - 5))
    one = Checked(server, service)
    until(lambda: one.condition() == "down")
    service.targets.set_down(0, None)  # as an attacker in control of another worker may do
    until(lambda: one.condition() == "down")
    [state] = service.targets.states(server.loop.now)
    assert (state.why, one.events.lines) == ("refused", [])
    assert state.since
    assert server.loop.now - state.since >= 5
    one.close()
    assert one.condition() == "up", "nothing checks it any more"


def test_checks_that_end_close_their_connection(server: Server, stack: ExitStack) -> None:
    far = stack.enter_context(listener())
    service = forwarding(url_of(far), check={"every": "100ms", "send": "x", "timeout": "10s"})
    one = Checked(server, service)
    client = stack.enter_context(far.accept()[0])
    assert client.recv(1) == b"x"
    one.close()
    assert client.recv(1) == b""
    assert one.events.lines == []
    assert server.loop.wheel.due == float("inf"), "nothing is timed"
