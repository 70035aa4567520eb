"""The options of check, and what it makes of them."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from netd.services.check import Check
from netd.services.service_type import ServiceType
from netd.testing import script
from tests.services.check.program import Program

GET = b"GET / HTTP/1.0\r\n\r\n"


def test_program_gets_its_time_and_a_bound_for_its_output() -> None:
    program = Program()
    for answer in ("http", "agent", "text"):
        asked = script(program.check(answer=answer, timeout="3s"))
        if answer == "http":
            asked.receives(GET)
        asked.waits().receives_reset()
    assert program.starts == [(3.0, 65536), (3.0, 4096), (3.0, 4096)]


def test_answers_that_need_no_question() -> None:
    program = Program()
    asked = {answer: script(program.check(answer=answer)).waits() for answer in ("agent", "text")}
    program.end(2, b"CRITICAL - 3\nmore\n")
    program.end(2, b"CRITICAL - \xc3\xbc\nmore\n")
    asked["agent"].sends(b"down #CRITICAL - 3\n").ends()
    asked["text"].sends("CRITICAL - ü\r\n".encode()).ends()


def test_age_of_a_response_is_that_of_its_result() -> None:
    program = Program()
    check = program.check(cache="10s")
    asked = script(check).receives(GET).waits()
    program.end(output=b"OK\n")
    assert b"\r\nAge: 0\r\n" in asked.output()
    program.now += 7
    assert b"\r\nAge: 7\r\n" in script(check).receives(GET).output()
    program.now += 10
    asked = script(check).receives(GET).waits()
    program.end(2, output=b"CRITICAL\n")
    assert asked.output().startswith(b"HTTP/1.1 503 ")


def test_codes_of_the_config_are_added_to_those_of_nagios() -> None:
    program = Program()
    web = script(program.check(codes={"2": 429, "timeout": 504})).receives(GET).waits()
    program.end(None, error="timeout")
    assert web.output().startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    agent = script(program.check(answer="agent", codes={"1": "up,50%", "other": "drain"})).waits()
    program.end(1, b"WARNING")
    agent.sends(b"up 50%\n").ends()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "50ms"}, "cache"),
        ({"timeout": "50ms"}, "timeout"),
        ({"timeout": "2h"}, "timeout"),
        ({"stale": "2s"}, "stale\n.*expected more than cache"),
        ({"answer": "json"}, "answer"),
        ({"codes": {"256": 200}}, "expected an exit code from 0 to 255"),
        ({"codes": {"0": "up"}}, "codes\n.*0: expected a status code"),
        ({"codes": {"0": True}}, "codes.0\n.*expected a status code such as 503, or words such as drain, got true"),
        ({"codes": {"0": None}}, "codes.0\n.*expected a status code such as 503, or words such as drain, got nothing"),
        ({"answer": "agent", "codes": {"0": 200}}, "codes\n.*0: expected words of agent-check"),
        ({"answer": "text", "codes": {"0": 200}}, "codes\n.*has no meaning with answer: text"),
    ],
)
def test_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Program().check(**options)


def test_options_are_the_same_after_a_round_trip() -> None:
    options: dict[str, Any] = {"command": ["/a", "b"], "stale": "10s", "codes": {"0": 200, "other": 500}}
    for given in (options, {"command": ["/a"]}):
        read = Check.Options.model_validate_json(json.dumps(given))
        assert Check.Options.model_validate_json(read.model_dump_json()) == read


def test_peers_share_a_worker() -> None:
    kind = ServiceType.of(Check)
    assert (kind.single_worker, kind.polled, kind.streams, kind.datagrams) == (True, True, True, None)
