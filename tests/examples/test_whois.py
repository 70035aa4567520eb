"""The whois server in examples/."""

import socket
from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.transport.listen import open_listeners
from tests.source_tree import ROOT
from tests.support.code import load
from tests.support.server import Server

FILE = ROOT / "examples" / "whois.py"


@pytest.fixture
def address(server: Server, tmp_path: Path) -> tuple[str, int]:
    """The address of a server with a record of example.org."""
    (tmp_path / "secret").write_text("no")
    (records := tmp_path / "records").mkdir()
    (records / "example.org").write_text("domain: example.org\nholder: R\u00f6mer\n")
    (records / "menu").mkdir()
    kind, service = load(str(FILE), "Whois", FILE.read_text().replace("/srv/whois", str(records)))
    [listener] = open_listeners([("test", Endpoint.parse("tcp://127.0.0.1:0"))], lambda *skipped: None)
    server.serve(service, listener, kind=kind)
    host, port = listener.socket.getsockname()
    return host, port


def answer(address: tuple[str, int], query: bytes) -> bytes:
    with socket.create_connection(address, 10) as client:
        client.sendall(query)
        with client.makefile("rb") as stream:
            return stream.read()  # without an end of the input: the server closes


@pytest.mark.parametrize("query", [b"example.org\r\n", b"example.org\n", b" EXAMPLE.org \r\n"])
def test_answer_is_the_record_and_the_end(address: tuple[str, int], query: bytes) -> None:
    assert answer(address, query) == "domain: example.org\r\nholder: R\u00f6mer\r\n".encode()


@pytest.mark.parametrize("query", [b"example.com", b"../secret", b"/etc/passwd", b".", b"menu", b"", b"\0", b"a" * 511])
def test_name_without_a_record_is_told(address: tuple[str, int], query: bytes) -> None:
    assert answer(address, query + b"\r\n").startswith(b"% no record of '")
