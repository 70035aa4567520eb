"""The resolver: names in, addresses out, in the thread of the loop."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from netd.transport import resolver
from netd.transport.loop import Loop
from netd.transport.resolver import Resolver


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.call(loop.stop)
    thread.join(20)
    loop.close()


def ask(one: Resolver, name: str) -> "Future[tuple[tuple[str, ...], str, str]]":
    found: Future[tuple[tuple[str, ...], str, str]] = Future()
    one.resolve(name, lambda addresses, error: found.set_result((addresses, error, threading.current_thread().name)))
    return found


def test_name_is_resolved_in_another_thread_and_answered_in_that_of_the_loop(loop: Loop) -> None:
    addresses, error, thread = ask(Resolver(loop), "localhost").result(20)
    assert set(addresses) & {"127.0.0.1", "::1"}
    assert not error
    assert thread != "resolver"


@pytest.mark.parametrize("name", ["no.such.name.invalid", "x" * 64 + ".invalid", "ü.invalid", ""])
def test_name_that_cannot_be_resolved_is_an_error_and_the_next_one_is_resolved(loop: Loop, name: str) -> None:
    one = Resolver(loop)
    addresses, error, _ = ask(one, name).result(20)
    assert bool(addresses) != bool(error)  # the empty one is this host
    assert ask(one, "localhost").result(20)[0]


def test_link_local_address_keeps_its_interface(loop: Loop) -> None:
    number = socket.if_nametoindex("lo")
    assert ask(Resolver(loop), "fe80::1%lo").result(20)[0] == (f"fe80::1%{number}",)


def test_names_that_wait_are_bounded(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(resolver, "_addresses", lambda name: go_on.wait(20) and ((name,), ""))
    monkeypatch.setattr(resolver, "_MOST_WAITING", 2)
    one = Resolver(loop)
    answers = [ask(one, "a")]
    while one._waiting.qsize():
        pass  # the thread takes the first
    answers += [ask(one, name) for name in "bcd"]
    assert "too many" in answers[3].result(20)[1]
    go_on.set()
    assert [answer.result(20)[0] for answer in answers[:3]] == [("a",), ("b",), ("c",)]
