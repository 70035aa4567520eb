"""Invalid messages of a worker: the supervisor logs one event, kills that worker alone, and replaces it."""

import json
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from netd.daemon.messages.from_supervisor import ListConnections
from netd.daemon.messages.from_worker import ConnectionList, Done, Response
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT
from tests.daemon.fakes import pool, silent
from tests.daemon.messages.any_json import JSON, nearly
from tests.daemon.messages.examples import LINE, ROW, SENT


def rejected(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events in the log without the start and the end of workers."""
    return [line for line in log if line["event"] not in ("worker_started", "worker_lost")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
@example(value={})
@example(value={"kind": "Alive", "request": 7, "lines_lost": 0})
@example(value={"kind": "Busy", "more": {}})
@example(value={"kind": "Done", "request": 1})
def test_worker_that_sends_any_other_json_is_killed_alone_with_one_event(
    log: list[dict[str, Any]], value: object
) -> None:
    log.clear()
    with pool() as made:
        made.start(2)
        attacker, other = made.workers
        for _ in range(100):
            attacker.send(b"." + json.dumps(value).encode())
        made.loop.settle()
        [line] = rejected(log)
        assert (line["event"], line["level"], line["worker"], line["pid"]) == ("message_rejected", "error", 0, 4711)
        assert len(line["error"]) < 200
        assert "exc_info" not in line
        assert attacker.signals == [signal.SIGKILL]
        assert (made.workers[0].pid, made.workers[1]) == (4713, other), "the worker is replaced"
        assert (other.signals, made.notices) == ([], [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=nearly(SENT, ["status", [LINE], [vars(ROW)]]))
@example(message={"kind": "Done", "request": 1})
def test_message_with_random_fields_is_accepted_or_is_one_event(
    log: list[dict[str, Any]], message: dict[str, Any]
) -> None:
    log.clear()
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        asked = made.pool.ask(ListConnections())
        worker.send(b"." + json.dumps(message).encode())
        made.loop.settle()
        assert [line["event"] for line in rejected(log)] == ["message_rejected"] * len(worker.signals)
        assert worker.signals in ([], [signal.SIGKILL])
        if worker.signals:
            assert asked.get() == {}, "no request waits for the worker"


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (b"?{}", "the packet is not part of a message, or the message is longer than 1 MiB"),
        (b"+{", "a packet before the last one of a message is not full"),
        (b".{", "the message is not a valid JSON object"),
        (b"." + b"[" * 50_000, "the message is not a valid JSON object"),
        (b'.{"kind":"Alive","request":1,"lines_lost":' + b"9" * 30 + b"}", "the message is not a valid JSON object"),
    ],
    ids=["mark", "small", "torn", "deep", "huge"],
)
def test_invalid_packet_is_one_event(log: list[dict[str, Any]], packet: bytes, problem: str) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.send(packet)
        made.loop.settle()
        assert [(line["event"], line["error"]) for line in rejected(log)] == [("message_rejected", problem)]
        assert worker.signals == [signal.SIGKILL]


def test_worker_that_keeps_sending_invalid_messages_is_restarted_with_backoff(
    log: list[dict[str, Any]],
) -> None:
    with pool() as made:
        made.start(1)
        for _ in range(600):
            for worker in made.workers:
                worker.send(b".{}")
            made.loop.wait(0.1)
        assert len(made.forked) < 10
        assert len(rejected(log)) == 1, "one event a minute, the others are counted"


@pytest.mark.parametrize("answers", [[Done()], [ConnectionList(0, []), ConnectionList(0, [])]], ids=["other", "two"])
def test_response_of_another_type_or_a_second_response_is_rejected(
    log: list[dict[str, Any]], answers: list[Response]
) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        made.pool.ask(ListConnections())
        for answer in answers:
            worker.respond(worker.last_request, answer)
        made.loop.settle()
        assert worker.signals == [signal.SIGKILL]
        assert len(rejected(log)) == 1


def test_response_after_the_timeout_is_ignored(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        worker.busy_until = made.loop.now + 60
        asked = made.pool.ask(ListConnections())
        made.loop.wait(RESPONSE_TIMEOUT + 1)
        assert asked.get() == {}
        worker.respond(worker.last_request, ConnectionList(0, []))
        made.loop.settle()
        assert (worker.signals, rejected(log)) == ([], [])
