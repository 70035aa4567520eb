"""The loop of `netd top` without its terminal: the order of requests, and the effect of answers and errors."""

import os
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from netd.cli.control import ControlClient
from netd.cli.top.command import _RequestThread, _Top
from netd.client.control import Answer
from netd.errors import NotRunningError, OperatorError
from tests.cli.top.answers import answer, service
from tests.cli.top.views import view
from tests.support.waiting import until


class Client(ControlClient):
    """Answers requests with what the test puts into a queue."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.answers: SimpleQueue[Answer | Exception] = SimpleQueue()
        self.requests: list[tuple[str, ...]] = []

    def ask(self, *words: str, **named: str | None) -> Answer:
        self.requests.append(words)
        found = self.answers.get(timeout=10)
        if isinstance(found, Exception):
            raise found
        return found


def test_requests_are_sent_one_after_the_other() -> None:
    client, woken = Client(), SimpleQueue[None]()
    requests = _RequestThread(client, lambda: woken.put(None))
    requests.put(("status",))
    requests.put(("peers",))
    until(lambda: client.requests)
    assert (client.requests, requests.pending, requests.answers()) == ([("status",)], 2, [])
    client.answers.put(Answer({"a": 1}))
    woken.get(timeout=10)
    [(request, found, when)] = requests.answers()
    assert (request, found, requests.pending) == (("status",), {"a": 1}, 1)
    assert requests.since <= when <= time.monotonic()
    error = NotRunningError(["netd has stopped"])
    client.answers.put(error)
    woken.get(timeout=10)
    assert [found[:2] for found in requests.answers()] == [(("peers",), error)]
    assert requests.pending == 0
    assert requests.answers() == []


@pytest.fixture
def top(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Top]:
    """A loop with two services in its view, an update that is due in 0.5 s, and a `Client`."""
    monkeypatch.setenv("TERM", "xterm")
    made = _Top(Client(), view(service("a"), service("b")), 0.5)
    yield made
    for descriptor in (made._keyboard._reader, made._keyboard._writer):
        os.close(descriptor)


def client_of(top: _Top) -> Client:
    client = top._requests._client
    assert isinstance(client, Client)
    return client


def handle(top: _Top, *answers: dict[str, Any] | Exception) -> None:
    """Let the client answer, and the loop handle the answers."""
    for one in answers:
        client_of(top).answers.put(Answer(one) if isinstance(one, dict) else one)
    until(lambda: top._requests._answers.qsize() == len(answers))
    top._handle_answers()


def test_update_is_requested_when_it_is_due_and_no_answer_is_pending(top: _Top) -> None:
    top._send_if_due()
    assert top._requests.pending == 0
    assert 0 < top._next_wait() <= 0.5
    top._due = 0.0
    top._send_if_due()
    assert top._requests.pending == 1
    assert top._next_wait() == 2.0, "the picture shows then that there is no answer"
    top._due = 0.0
    top._send_if_due()
    assert top._requests.pending == 1
    handle(top, answer(service("c")))
    assert client_of(top).requests == [("status",)]
    assert [row["SERVICE"] for row in top._view.rows()] == ["c"]


def test_pause_sends_no_update_and_ignores_earlier_answers(top: _Top) -> None:
    top._due = 0.0
    top._send_if_due()
    top._press("p")
    assert top._view.paused
    handle(top, answer(service("c")))
    assert [row["SERVICE"] for row in top._view.rows()] == ["a", "b"]
    assert top._next_wait() == 3600.0
    top._due = time.monotonic() - 1
    top._send_if_due()
    assert top._requests.pending == 0


def test_key_that_makes_a_request_also_requests_an_update(top: _Top) -> None:
    assert top._press("d") is None
    assert top._requests.pending == 0, "not before it is confirmed"
    top._press("y")
    assert (top._requests.pending, top._due) == (1, 0.0)
    handle(top, {"service": "a", "enabled": False, "changed": True, "until_reload": True})
    assert client_of(top).requests == [("disable", "a")]
    assert top._view.message == "a is off, until the next reload"


def test_peers_of_a_view_that_has_changed_are_ignored(top: _Top) -> None:
    top._press("P")
    top._send_if_due()
    assert top._requests.pending == 2
    top._press("P")
    top._press("enter")
    handle(top, answer(service("a"), service("b")), {"total": 0, "peers": []})
    assert top._view.peers is None
    top._send_if_due()
    handle(top, answer(service("a"), service("b")), {"total": 1, "peers": []})
    assert client_of(top).requests[2:] == [("status",), ("peers", "service=a")]
    assert top._view.peers == {"total": 1, "peers": []}


def test_error_of_an_update_is_shown_until_the_next_answer(top: _Top) -> None:
    top._due = 0.0
    top._send_if_due()
    handle(top, NotRunningError(["netd is not running"]))
    assert top._view.trouble.startswith("no answer since ")
    assert top._view.trouble.endswith(": netd is not running")
    top._due = 0.0
    top._send_if_due()
    handle(top, answer(service("a")))
    assert top._view.trouble == ""


def test_error_of_a_command_is_shown_as_its_result(top: _Top) -> None:
    top._requests.put(("enable", "a"))
    handle(top, OperatorError(["port in use"]))
    assert (top._view.message, top._view.trouble) == ("port in use", "")


def test_bug_in_the_request_thread_is_raised(top: _Top) -> None:
    top._requests.put(("status",))
    with pytest.raises(ZeroDivisionError):
        handle(top, ZeroDivisionError())


@pytest.mark.parametrize(("key", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131), ("SIGWINCH", None)])
def test_signal_has_the_exit_code_of_a_shell(top: _Top, key: str, code: int | None) -> None:
    assert top._press(key) == code
    assert not top._view.done
