"""What threads ask the supervisor: one question at a time, and an answer for all who wait."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from netd.daemon.worker import status_client
from netd.daemon.worker.status_client import StatusClient
from tests.support import Server, until


def test_many_who_ask_at_once_are_one_question(server: Server) -> None:
    asked: list[str] = []
    inquiries = StatusClient(server.loop, asked.append)
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(inquiries.ask, "status") for _ in range(20)]
        until(lambda: asked)
        assert not any(one.done() for one in waiting)
        server.loop.call(lambda: inquiries.answered("history", {"of": "something else"}))
        server.loop.call(lambda: inquiries.answered("status", {"number": 1}))
        assert [one.result(10) for one in waiting] == [{"number": 1}] * 20
    assert asked == ["status"]


def test_an_answer_is_good_for_a_moment_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "FRESH", 0.05)
    asked: list[str] = []

    def send(what: str) -> None:
        asked.append(what)
        inquiries.answered(what, {"number": len(asked)})

    inquiries = StatusClient(server.loop, send)
    assert inquiries.ask("status") == {"number": 1}
    until(lambda: inquiries.ask("status") == {"number": 2})


def test_without_an_answer_there_is_an_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "_PATIENCE", 0.1)
    inquiries = StatusClient(server.loop, lambda what: None)
    with pytest.raises(TimeoutError):
        inquiries.ask("status")
    with pytest.raises(TimeoutError):
        inquiries.ask("status")


def test_who_waits_behind_others_waits_no_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "_PATIENCE", 0.5)
    inquiries = StatusClient(server.loop, lambda what: None)
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(inquiries.ask, "status") for _ in range(8)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(30)
    assert time.monotonic() - begun < 8 * 0.5, "all at once, and not one after the other"
