"""docs/writing-services.md: its examples are served over real sockets, as they stand on the page."""

import importlib
import re
import socket
import sys
from types import ModuleType
from typing import Any

import pytest

from netd.contract import Context
from netd.endpoints import Endpoint
from netd.transport.listen import open_listeners
from tests.source_tree import ROOT
from tests.support.code import load_attributed as load
from tests.support.server import Server
from tests.support.sockets import ABSTRACT

PAGE = (ROOT / "docs" / "writing-services.md").read_text()
EXAMPLES = {match[1]: match[0] for match in re.finditer(r"(?ms)^# (\w+\.py)\n.*?(?=^```)", PAGE)}
STREAMS = {
    "greet.py": ("Greet", b"bob\r\n", rb"hello, bob\r\n"),
    "upper.py": ("Upper", b"abc\nd", rb"ABC\nD"),
    "page.py": ("Page", b"GET /x HTTP/1.0\r\n\r\n", rb".*\r\n\r\nyou asked for /x\n"),
    "moan.py": ("Moan", b"abc\n", rb"noted\n"),
    "capital.py": ("capital", b"abc\nd", rb"ABC\nD"),
    "day.py": ("day", b"", rb"\d{4}-\d\d-\d\d\r\n"),
}
DATAGRAMS = {"greet.py": ("Greet", b"bob", b"hello, bob"), "shout.py": ("Shout", b"abc\n", b"ABC")}


def served(server: Server, file: str, name: str, url: str) -> Any:
    """The address at which the example is served."""
    kind, service = load(f"/page/{file}", name, EXAMPLES[file])
    [listener] = open_listeners([("test", Endpoint.parse(url))], lambda *skipped: None)
    server.serve(service, listener, kind=kind)
    return listener.socket.getsockname()


def test_names_that_stay_are_there() -> None:
    rows = re.findall(r"(?m)^\| `(netd\.\w+)` \| (.+) \|$", PAGE)
    modules = ("contract", "peer", "lines", "values", "errors", "testing")
    assert [name for name, _ in rows] == [f"netd.{one}" for one in modules]
    for name, text in rows:
        module = importlib.import_module(name)
        for one in re.findall(r"`(\w+)`", text):
            assert hasattr(module, one) or one in Context.__dataclass_fields__, one


@pytest.mark.parametrize(
    ("module", "test", "right", "wrong"),
    [
        ("greet", "test_each_line_is_greeted", 'b", "', 'b"; "'),
        ("upper", "test_lines_come_back_in_upper_case", "line.upper()", "line"),
    ],
)
def test_test_of_an_example_passes_and_fails_with_another_answer(
    module: str, test: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> None:
        tested = ModuleType(module)
        exec(EXAMPLES[f"{module}.py"], tested.__dict__)
        monkeypatch.setitem(sys.modules, module, tested)
        tests: dict[str, Any] = {}
        exec(EXAMPLES[f"test_{module}.py"], tests)
        tests[test]()

    run()
    monkeypatch.setitem(EXAMPLES, f"{module}.py", EXAMPLES[f"{module}.py"].replace(right, wrong))
    with pytest.raises(AssertionError):
        run()


def test_page_has_an_example_of_each_kind() -> None:
    assert EXAMPLES.keys() == {*STREAMS, *DATAGRAMS, "test_greet.py", "test_upper.py"}


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}-page"])
@pytest.mark.parametrize("file", STREAMS)
def test_example_is_served_over_streams(server: Server, file: str, url: str) -> None:
    name, sent, received = STREAMS[file]
    address = served(server, file, name, url)
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            assert re.fullmatch(received, stream.read(), re.DOTALL)


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", f"unixgram://{ABSTRACT}-page"])
@pytest.mark.parametrize("file", DATAGRAMS)
def test_example_is_served_over_datagrams(server: Server, file: str, url: str) -> None:
    name, sent, received = DATAGRAMS[file]
    address = served(server, file, name, url)
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        if family == socket.AF_UNIX:
            client.bind("")  # an abstract address, to which the answer goes
        client.sendto(sent, address)
        assert client.recv(1024) == received
