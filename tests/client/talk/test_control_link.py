"""The link to a service through the control socket of a netd."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.client.talk.control_link import ControlLink
from netd.errors import HungUpError, NotRunningError
from tests.client.fake_netd import FakeNetd
from tests.support.sockets import read_exactly

REQUEST = b"talk service=echo\n"


class Attached:
    """A link, and the other end of its connection, which has sent ``first``."""

    def __init__(self, path: str, first: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            answering = threading.Thread(target=self._answer, args=(listener, first))
            answering.start()
            self.link = ControlLink([path], "echo")
            answering.join()

    def _answer(self, listener: socket.socket, first: bytes) -> None:
        self.netd, _ = listener.accept()
        self.netd.settimeout(10)
        assert read_exactly(self.netd, len(REQUEST)) == REQUEST
        # In pieces, as netd may send it.
        for place in range(0, len(first), 5):
            self.netd.sendall(first[place : place + 5])

    def receive(self) -> bytes | None:
        return asyncio.run(asyncio.wait_for(self.link.receive(), 10))


@pytest.fixture
def attached(tmp_path: Path) -> Iterator[Attached]:
    made = Attached(f"{tmp_path}/c", b'{"ok": true}\n')
    yield made
    made.link.close()
    made.netd.close()


def test_answer_of_netd_is_kept(tmp_path: Path) -> None:
    refusal = {"ok": False, "error": "no such service"}
    made = Attached(f"{tmp_path}/c", json.dumps(refusal).encode() + b"\n")
    assert made.link.answer == refusal
    assert (made.link.url, made.link.address) == ("'echo'", f"{tmp_path}/c")
    made.link.close()
    made.netd.close()


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"\n", b"[]\n"])
def test_answer_that_is_no_object_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with FakeNetd(tmp_path / "c", answer) as fake, pytest.raises(NotRunningError, match="does not answer as netd does"):
        ControlLink([fake.path], "echo")


@pytest.mark.parametrize("line", [b"hello", b"[]", b"7"])
def test_message_that_is_no_object_is_an_error(attached: Attached, line: bytes) -> None:
    attached.netd.sendall(line + b"\n")
    with pytest.raises(NotRunningError, match="does not answer as netd does"):
        attached.receive()


def test_missing_netd_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        ControlLink([f"{tmp_path}/none"], "echo")


def test_input_is_sent_unchanged(attached: Attached) -> None:
    assert asyncio.run(attached.link.send(b"a\xff\n"))
    asyncio.run(attached.link.finish())
    assert attached.netd.recv(9) == b"a\xff\n"
    attached.netd.close()
    assert not asyncio.run(attached.link.send(b"b\n")), "receive() reports the end"


def test_messages_are_received_one_by_one(attached: Attached) -> None:
    lines = [b'{"text": "hello\\n"}', b"", b'{"other": 1}', b'{"text": ""}', '{"text": "ü"}'.encode(), b'{"end": true}']
    attached.netd.sendall(b"\n".join(lines) + b"\n" + b'{"text": "after the end"}\n')
    assert [attached.receive() for _ in range(3)] == [b"hello\n", "ü".encode(), None]


def test_message_in_pieces_is_received_whole(attached: Attached) -> None:
    async def receive() -> bytes | None:
        receiving = asyncio.create_task(attached.link.receive())
        for piece in (b'{"te', b'xt": "he', b'llo"}\n'):
            attached.netd.sendall(piece)
            await asyncio.sleep(0)
        return await asyncio.wait_for(receiving, 10)

    assert asyncio.run(receive()) == b"hello"


def test_text_behind_the_answer_is_not_lost(tmp_path: Path) -> None:
    made = Attached(f"{tmp_path}/c", b'{"ok": true}\n{"text": "at once"}\n')
    assert made.link.answer == {"ok": True}
    assert made.receive() == b"at once"
    made.link.close()
    made.netd.close()


def test_message_that_is_too_long_is_an_error(attached: Attached) -> None:
    endless = threading.Thread(target=send_without_an_end, args=(attached.netd,))
    endless.start()
    with pytest.raises(NotRunningError, match="a message is too long"):
        attached.receive()
    attached.link.close()
    endless.join(10)
    assert not endless.is_alive()


def send_without_an_end(connection: socket.socket) -> None:
    try:
        while True:
            connection.sendall(b"x" * 65536)
    except OSError:
        pass


def test_close_ends_the_conversation_and_a_reset_is_an_error(attached: Attached, tmp_path: Path) -> None:
    attached.netd.close()
    assert attached.receive() is None
    other = Attached(f"{tmp_path}/d", b'{"ok": true}\n')
    asyncio.run(other.link.send(b"unread"))
    other.netd.close()
    with pytest.raises(HungUpError, match="'echo': Connection reset by peer"):
        other.receive()
    other.link.close()
