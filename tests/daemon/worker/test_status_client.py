"""Requests of threads to the supervisor: one at a time, with one response for all threads that wait."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from netd.daemon.worker import status_client
from netd.daemon.worker.status_client import StatusClient
from tests.support.server import Server
from tests.support.waiting import until


def test_many_threads_send_one_request_and_share_its_response(server: Server) -> None:
    sent: list[str] = []

    def send(report: str) -> bool:
        sent.append(report)
        return True

    client = StatusClient(server.loop, send)
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(client.request, "status") for _ in range(20)]
        until(lambda: sent)
        assert not any(one.done() for one in waiting)
        server.loop.call(lambda: client.on_response("history", {"of": "something else"}))
        server.loop.call(lambda: client.on_response("status", {"number": 1}))
        assert [one.result(10) for one in waiting] == [{"number": 1}] * 20
    assert sent == ["status"]


def test_response_is_reused_for_a_moment_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "MAX_AGE", 0.05)
    sent: list[str] = []

    def send(report: str) -> bool:
        sent.append(report)
        client.on_response(report, {"number": len(sent)})
        return True

    client = StatusClient(server.loop, send)
    assert client.request("status") == {"number": 1}
    until(lambda: client.request("status") == {"number": 2})


def test_request_waits_while_the_channel_is_full(server: Server) -> None:
    tries: list[str] = []

    def send(report: str) -> bool:
        tries.append(report)
        if len(tries) < 3:
            return False
        client.on_response(report, {"number": len(tries)})
        return True

    client = StatusClient(server.loop, send)
    assert client.request("status") == {"number": 3}


def test_request_that_cannot_be_sent_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "_TIMEOUT", 0.2)
    client = StatusClient(server.loop, lambda report: False)
    with pytest.raises(TimeoutError):
        client.request("status")
    until(lambda: server.loop.wheel.due == math.inf)


def test_request_without_a_response_times_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "_TIMEOUT", 0.1)
    client = StatusClient(server.loop, lambda report: True)
    with pytest.raises(TimeoutError):
        client.request("status")
    with pytest.raises(TimeoutError):
        client.request("status")


def test_threads_behind_others_time_out_at_the_same_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "_TIMEOUT", 0.5)
    client = StatusClient(server.loop, lambda report: True)
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(client.request, "status") for _ in range(8)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(30)
    assert time.monotonic() - begun < 8 * 0.5, "all at once, and not one after the other"
