"""Which code runs, as its output and the code itself see it."""

import asyncio
import sys
import threading
from typing import Any

import pytest

from netd.contract import Context
from netd.peer import Peer
from netd.services.python import loading
from netd.services.python.options import PythonOptions
from netd.services.python.running import AttributedService, RunningCode, current
from netd.shared.running import RunningMemory
from netd.telemetry.code_events import CodeEvents
from netd.telemetry.throttle import LONGEST_LINE
from netd.testing import PEER
from tests.support.code import load_attributed as load

Lines = list[dict[str, Any]]
CODE = """
import asyncio
from netd.services.python.running import current

def runs():
    return current.get().peer.encode()

class Service:
    def __init__(self):
        assert current.get().peer == ""
    def stream(self, peer, *post):
        begun = runs()
        try:
            while (yield begun + b" " + runs()):
                pass
        finally:
            current.get().printed("stdout", "closed")
    def datagram(self, data, peer):
        return runs()
    def truncate(self, answer, most):
        return runs() or b"none"
    def take_over(self, before):
        self.before = before, current.get()

def handle(request, client_address, server):
    request.append(runs())

async def note(reader):
    reader.append(runs())

async def converse(reader, writer):
    reader.append(runs())
    await asyncio.create_task(note(reader))
    current.get().printed("stdout", "unfinished")
"""

RECORDS = """
seen = []

class Service:
    def stream(self, peer):
        look()
        try:
            yield b""
            look()
            yield b""
        finally:
            look()
    def datagram(self, data, peer):
        look()
"""


@pytest.fixture
def service() -> AttributedService:
    return load("/none/runs.py", "Service", CODE)[1]


def test_each_turn_of_a_conversation_runs_as_the_code_of_its_service(service: AttributedService, log: Lines) -> None:
    other = Peer("tcp", "2001:db8::1", 2)
    first, second = service.stream(PEER), service.stream(other)
    for _ in range(2):
        assert first.send(None if _ == 0 else b"x") == f"{PEER.remote} {PEER.remote}".encode()
        assert second.send(None if _ == 0 else b"x") == b"[2001:db8::1]:2 [2001:db8::1]:2"
        assert current.get() is None
    first.close()
    assert [(line["line"], line["peer"]) for line in log] == [("closed", PEER.remote)]
    with pytest.raises(StopIteration):
        second.send(b"")
    assert log[-1]["peer"] == other.remote


def test_methods_besides_stream_run_as_the_code_too(service: AttributedService) -> None:
    assert service.datagram(b"", PEER) == PEER.remote.encode()
    assert service.truncate(b"", 64) == b"none"
    _, after = load("/none/runs.py", "Service", CODE)
    after.take_over(service)
    before, ran_as = after.service.before
    assert before is service.service
    assert ran_as
    assert current.get() is None


def test_handler_runs_for_its_client() -> None:
    _, service = load("/none/runs.py", "handle", CODE)
    for address, peer in ((("192.0.2.7", 4), b"192.0.2.7:4"), (("pid=1,uid=0,gid=0", 0), b"pid=1,uid=0,gid=0")):
        request: list[bytes] = []
        service.handler(request, address, None)
        assert request == [peer]


class Writer:
    def __init__(self, name: object) -> None:
        self._name = name

    def get_extra_info(self, what: str) -> object:
        assert what == "peername"
        return self._name


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("192.0.2.7", 1), "192.0.2.7:1"),
        (("2001:db8::1", 2, 0, 0), "[2001:db8::1]:2"),
        ("/none/x", "/none/x"),
        ("", ""),
    ],
)
def test_coroutine_and_its_tasks_run_for_their_client(name: object, peer: str, log: Lines) -> None:
    found: Any = load("/none/runs.py", "converse", CODE)[1]
    seen: list[bytes] = []
    asyncio.run(found.handler(seen, Writer(name)))
    assert (seen, current.get()) == ([peer.encode()] * 2, None)
    assert [(line["line"], line.get("peer", "")) for line in log] == [("unfinished", peer)]


def test_function_that_is_called_soon_runs_as_the_code() -> None:
    text = (
        "from netd.services.python.running import current\nfrom netd.services.service_type import NoOptions\n"
        "class Service:\n    Options = NoOptions\n    def __init__(self, options, context):\n        "
        "context.call_soon(lambda: found.append(current.get()))\n    def datagram(self, data, peer): pass\nfound = []\n"
    )
    calls: list[Any] = []
    _, service = load("/none/soon.py", "Service", text, Context(call_soon=calls.append))
    calls[0]()
    assert type(service.service).datagram.__globals__["found"][0] is not None


def test_class_without_a_generator_is_told_by_its_name() -> None:
    _, service = load("/none/no.py", "Service", "class Service:\n    def stream(self, peer): pass\n")
    with pytest.raises(TypeError, match="^Service.stream returned no generator"):
        service.stream(PEER)


def test_lines_are_put_together_for_each_peer_and_stream(log: Lines) -> None:
    code = RunningCode(CodeEvents("greet"))
    one, two = code.serving("one"), code.serving("two")
    for piece in ("a", "b\r\n", "\n", "c"):
        one.printed("stdout", piece)
        two.printed("stdout", piece.upper())
        one.printed("stderr", piece)
    one.finish()
    one.finish()
    told = [(line["peer"], line["stream"], line["line"]) for line in log]
    assert told == [
        ("one", "stdout", "ab"),
        ("two", "stdout", "AB"),
        ("one", "stderr", "ab"),
        ("one", "stderr", "c"),
        ("one", "stdout", "c"),
    ]


def test_line_without_an_end_is_bounded(log: Lines) -> None:
    code = RunningCode(CodeEvents("greet"))
    for _ in range(LONGEST_LINE * 3):
        code.printed("stdout", "x")
    assert [len(line["line"]) for line in log] == [LONGEST_LINE] * 2


def test_threads_have_their_own() -> None:
    code = RunningCode(CodeEvents("greet"))
    seen: list[RunningCode | None] = []

    def look() -> None:
        seen.append(current.get())

    def run() -> None:
        other = threading.Thread(target=look)
        other.start()
        other.join()

    code.run(run)
    assert seen == [None]


def test_code_is_recorded_while_it_runs_and_no_longer() -> None:
    memory = RunningMemory()
    kind = loading.load("/none/records.py", "Service", RECORDS)
    code = RunningCode(CodeEvents("records"), memory=memory)
    service = loading.as_python(kind, code).build(
        PythonOptions.model_validate({"class": "/none/records.py:Service"}), Context()
    )
    seen: list[Any] = sys.modules["/none/records.py"].__dict__["seen"]
    sys.modules["/none/records.py"].__dict__["look"] = lambda: seen.append(memory.read())
    conversation = service.stream(PEER)
    conversation.send(None)
    assert memory.read() == []
    conversation.send(b"x")
    assert memory.read() == []
    conversation.close()
    service.datagram(b"", Peer("udp", "2001:db8::1", 5))
    assert memory.read() == []
    assert [[(one.service, one.source) for one in found] for found in seen] == [
        *[[("records", PEER.host)]] * 3,
        [("records", "2001:db8::1")],
    ]
    code.serving("[2001:db8::2]:7").run(lambda: seen.append(memory.read()))
    code.serving("pid=1,uid=0,gid=0").run(lambda: seen.append(memory.read()))
    assert [found[0].source for found in seen[-2:]] == ["2001:db8::2", "pid=1,uid=0,gid=0"]
