"""The messages of the channel: both ends read what the other one writes, and no more."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netd.daemon.channel import Channel, ProtocolError, pair, wait
from netd.daemon.messages import from_supervisor, from_worker
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import Heartbeat, ListConnections, Order, Prepare, ServiceEntry, Stop
from netd.daemon.messages.from_worker import (
    MOST_ROWS,
    Alive,
    Busy,
    ConnectionList,
    ConnectionRow,
    Done,
    Failed,
    Notice,
    Offender,
    PeerList,
    PeerRow,
    Response,
    TraceLines,
)
from netd.daemon.supervisor.requests import PATIENCE
from netd.daemon.worker.worker import Worker
from netd.telemetry.logs import Sink
from netd.text import escaped
from tests.daemon.fakes import pool, silent
from tests.support import copies

ROW = ConnectionRow("0-7-1", "echo", "tcp", "192.0.2.7:4711", "192.0.2.1:7", 1.5, 0, 3, 4)
SENT: list[Response | Notice] = [
    Done(),
    Failed("no descriptors left"),
    Alive(3),
    ConnectionList(2, [ROW]),
    PeerList(7, [PeerRow("192.0.2.7", 7, 1, 2)]),
    from_worker.Kicked(3),
    Busy(),
    Offender("c0000207", "echo", "rate"),
    from_worker.ReportWanted("status"),
    TraceLines(1, [(1.5, "in", "192.0.2.7:4711", 2, "6869")], 0),
]
COMMANDS: list[tuple[Any, int]] = [
    (Heartbeat(), 0),
    (from_supervisor.SetDaemonLimits(), 1),
    (from_supervisor.SetBans({"c0000207": 12.5, "c0000208": None}), 0),
    (Prepare(["{}"], [1, 2], ["echo"], {"time": 5.0}, "all", None, "{}"), 4),
    (from_supervisor.Commit(), 0),
    (ListConnections(service="echo"), 0),
    (from_supervisor.ListPeers(), 0),
    (from_supervisor.Kick(peer="192.0.2.7"), 0),
    (from_supervisor.SetLogLevel("info"), 0),
    (from_supervisor.SetLogFile(), 1),
    (from_supervisor.StartTrace(1, "echo", ""), 0),
    (from_supervisor.Attach("echo"), 1),
    (from_supervisor.Abort(), 0),
    (from_supervisor.Retire({"echo": 5.0}), 0),
    (from_supervisor.StopTrace(1), 0),
    (from_supervisor.Report("status", {"ok": [1, None]}), 0),
    (from_supervisor.Drain(), 0),
    (Stop(), 0),
]


def is_response(message: Response | Notice) -> bool:
    return isinstance(message, Response)


def test_a_supervisor_reads_what_a_worker_writes() -> None:
    assert {type(one) for one in SENT} == {*get_args(Response), *get_args(Notice)}
    for message in SENT:
        request = {"request": 5} if is_response(message) else {}
        read = from_worker.decode({**json.loads(encode(message)), **request})
        assert read == (request.get("request"), message)


def test_a_worker_reads_what_a_supervisor_writes() -> None:
    assert {type(one) for one, _ in COMMANDS} == {*get_args(from_supervisor.AnyRequest), *get_args(Order)}
    for message, descriptors in COMMANDS:
        request = {} if isinstance(message, Order) else {"request": 5}
        sent = {**json.loads(encode(message)), **request}
        assert from_supervisor.decode(sent, range(descriptors)) == (request.get("request"), message)
        with pytest.raises(ProtocolError, match="descriptors expected"):
            from_supervisor.decode(sent, range(descriptors + 1))


def test_the_longest_list_of_connections_is_no_message_without_end() -> None:
    path = escaped("\udcff" * 108)  # a path with no octet that is text, both ends of a UNIX socket (unix(7))
    row = ConnectionRow("63-1048576-ffffffff", "x" * 64, "unix", path, path, 1e9 + 0.123, 1e9 + 0.123, 2**63, 2**63)
    ours, theirs = pair()
    supervisor, worker = Channel(ours, takes_descriptors=False), Channel(theirs, takes_descriptors=True)
    pieces = encode(ConnectionList(10**6, [row] * MOST_ROWS))
    sending = threading.Thread(target=worker.send_encoded, args=(pieces,), kwargs={"request": 10**6})
    sending.start()
    received = None
    while received is None and wait([supervisor.fileno()], 10):
        received = supervisor.receive()
    sending.join()
    assert received
    assert len(received[0]["connections"]) == MOST_ROWS
    supervisor.close()
    worker.close()


def test_a_service_of_a_config_is_read_as_it_was_written() -> None:
    entry = ServiceEntry("echo", "echo", '{"size":1e999}', "{}", (8, 64), [1, 2], changed=True)
    assert ServiceEntry.decode(entry.encode()) == entry


GOOD: dict[str, Any] = {"kind": "Alive", "request": 1, "lines_lost": 0}
LINE = [1.0, "in", "x", 1, "61"]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "there is no message nothing"),
        ({"kind": "Prepare"}, "there is no message 'Prepare'"),
        ({"kind": ["Alive"]}, "there is no message ['Alive']"),
        ({"kind": "\x1b[31m" + "x" * 1000}, "there is no message '\\x1b[31mxxxxxxxxxx"),
        (GOOD | {"request": None}, "Alive: got nothing for the number of a request"),
        (GOOD | {"request": True}, "Alive: got true for the number of a request"),
        (GOOD | {"request": 1.0}, "Alive: got 1.0 for the number of a request"),
        ({"kind": "Busy", "request": 1}, "Busy: got 1 for the number of a request"),
        ({"kind": "Alive", "request": 1}, "Alive: 'lines_lost': Field required"),
        (GOOD | {"\x1b[31m" + "x" * 1000: 1}, "Alive: '\\x1b[31mxxxxxxxxxx"),
        (GOOD | {str(number): 1 for number in range(10_000)}, "Alive: 10000 faults"),
        (GOOD | {"lines_lost": "1"}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": True}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": 1.0}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": -1}, "Alive: 'lines_lost': Input should be greater than or equal to 0"),
        (GOOD | {"lines_lost": 2**63}, "Alive: 'lines_lost': Input should be less than"),
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW) | {"seconds": 10**400}]},
            "ConnectionList: 'connections.0.seconds': Input should be a valid number",
        ),
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW) | {"idle": float("inf")}]},
            "ConnectionList: 'connections.0.idle': Input should be a finite number",
        ),
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW)] * (MOST_ROWS + 1)},
            "ConnectionList: 'connections': List should have at most 1000 items",
        ),
    ],
)
def test_what_a_worker_may_not_send_is_named(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        from_worker.decode(message)
    assert str(raised.value).startswith(problem)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "line",
    [
        None,
        {},
        [],
        ["now", "in", "x", 1, ""],
        [1.0, "sideways", "x", 1, ""],
        [1.0, "in", "x" * 1000, 1, ""],
        [1.0, "in", "x", "1", ""],
        [1.0, "in", "x", 1, "0" * 1000],
        [1.0, "in", "x", 1, "no hexadecimal"],
        [1.0, "in", "x", 1, "", "more"],
        [2.0**40, "in", "x", 1, ""],
    ],
)
def test_a_line_of_a_trace_that_is_none_is_not_passed_on(line: object) -> None:
    message = {"kind": "TraceLines", "trace": 1, "skipped": 0}
    assert from_worker.decode({**message, "lines": [LINE, LINE]})
    with pytest.raises(ProtocolError, match=r"TraceLines: 'lines\.0"):
        from_worker.decode({**message, "lines": [line, LINE]})


@pytest.mark.parametrize(
    "offender",
    [
        {"source": "c0ffffff", "service": "echo", "refusal": "\x1b[31m"},
        {"source": "c0ffffff", "service": "echo"},
        {"source": "c0ffff", "service": "echo", "refusal": "rate"},
        {"source": "C0FFFFFF", "service": "echo", "refusal": "rate"},
        {"source": "c0ffffff\n", "service": "echo", "refusal": "rate"},
        {"source": ["c0ffffff"], "service": {}, "refusal": None},
        {"source": "c0ffffff", "service": "x" * 65, "refusal": "rate"},
    ],
)
def test_a_report_of_an_offender_that_makes_no_sense_is_refused(offender: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="Offender: "):
        from_worker.decode({"kind": "Offender", **offender})


# What the supervisor makes of it.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
KINDS = {type(one).__name__: sorted(vars(one)) for one in SENT}


@st.composite
def nearly(draw: st.DrawFn) -> dict[str, Any]:
    """An object with the name and the fields of a message, and any values."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    message = {"kind": kind, "request": draw(st.integers(0, 3))}
    for name in KINDS[kind]:
        message[name] = draw(JSON | st.sampled_from(["echo", "status", 0, 2**64, [LINE], [vars(ROW)]]))
    for name in draw(st.lists(st.sampled_from(sorted(message)), max_size=1)):
        del message[name]
    return message


def rejected(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was logged but the start and the end of workers."""
    return [line for line in log if line["event"] not in ("worker_started", "worker_lost")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
@example(value={})
@example(value={"kind": "Alive", "request": 7, "lines_lost": 0})
@example(value={"kind": "Busy", "more": {}})
@example(value={"kind": "Done", "request": 1})
def test_any_json_of_a_worker_is_one_event_and_the_end_of_the_worker_alone(
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
        assert (made.workers[0].pid, made.workers[1]) == (4713, other), "it is replaced"
        assert (other.signals, made.notices) == ([], [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=nearly())
@example(message={"kind": "Done", "request": 1})
def test_what_is_nearly_a_message_is_taken_or_is_one_event(log: list[dict[str, Any]], message: dict[str, Any]) -> None:
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
            assert asked.get() == {}, "nothing waits for it"


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (b"?{}", "it sent a packet that is no part of a message, or too long a message"),
        (b".{", "it sent what is no JSON object"),
        (b"." + b"[" * 50_000, "it sent what is no JSON object"),
        (b'.{"kind":"Alive","request":1,"lines_lost":' + b"9" * 30 + b"}", "it sent what is no JSON object"),
    ],
    ids=["mark", "torn", "deep", "huge"],
)
def test_a_packet_that_is_no_message_is_one_event_too(log: list[dict[str, Any]], packet: bytes, problem: str) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.send(packet)
        made.loop.settle()
        assert [(line["event"], line["error"]) for line in rejected(log)] == [("message_rejected", problem)]
        assert worker.signals == [signal.SIGKILL]


def test_a_worker_that_sends_no_message_again_and_again_is_replaced_more_and_more_slowly(
    log: list[dict[str, Any]],
) -> None:
    with pool() as made:
        made.start(1)
        for _ in range(600):
            for worker in made.workers:
                worker.send(b".{}")
            made.loop.wait(0.1)
        assert len(made.forked) < 10
        assert len(rejected(log)) == 1, "in a minute it is said once, with the number at its end"


@pytest.mark.parametrize("answers", [[Done()], [ConnectionList(0, []), ConnectionList(0, [])]], ids=["other", "two"])
def test_a_response_of_another_type_or_a_second_one_is_no_message(
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


def test_a_response_that_comes_too_late_is_no_offence(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        worker.busy_until = made.loop.now + 60
        asked = made.pool.ask(ListConnections())
        made.loop.wait(PATIENCE + 1)
        assert asked.get() == {}
        worker.respond(worker.last_request, ConnectionList(0, []))
        made.loop.settle()
        assert (worker.signals, rejected(log)) == ([], [])


# What a worker makes of it.


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Channel]:
    """The supervisor's end of the channel to a worker that runs in a thread of this process."""
    ours, theirs = pair()
    channel = Channel(ours, takes_descriptors=False)
    with (tmp_path / "log").open("wb") as file:
        sink = Sink(file.fileno())
        running = Worker(0, Channel(theirs, takes_descriptors=True), sink)
        thread = threading.Thread(target=running.run)
        thread.start()
        yield channel
        channel.close()
        thread.join(10)
        assert not thread.is_alive()
        running._spare.give_up()
        running._loop.close()
    theirs.close()


def answer(channel: Channel) -> dict[str, Any]:
    assert wait([channel.fileno()], 10)
    received = channel.receive()
    assert received
    return received[0]


@pytest.mark.parametrize(
    ("message", "descriptors", "problem"),
    [
        ({"kind": "Nothing"}, 0, "there is no message 'Nothing'"),
        ({"kind": "Commit", "what": 1}, 0, "Commit: 'what': Unexpected keyword argument"),
        ({"kind": "Heartbeat"}, 1, "Heartbeat: 0 descriptors expected, got 1"),
        ({"kind": "Attach", "service": "echo"}, 2, "Attach: 1 descriptors expected, got 2"),
    ],
)
def test_a_worker_that_understands_no_request_says_so_logs_it_once_and_goes_on(
    supervisor: Channel, log: list[dict[str, Any]], message: dict[str, Any], descriptors: int, problem: str
) -> None:
    file = os.memfd_create("x")
    for request in (1, 2):
        supervisor.send({**message, "request": request}, [file] * descriptors)
        said = answer(supervisor)
        assert said == {"kind": "Failed", "request": request, "error": f"a bug in netd: {problem}"}
    assert copies(file) == 1, "it closes what came with it"
    os.close(file)
    supervisor.send_encoded(encode(Heartbeat()), request=3)
    assert answer(supervisor) == {"kind": "Alive", "request": 3, "lines_lost": 0}
    assert [(line["event"], line["error"]) for line in log] == [("request_rejected", problem)]
