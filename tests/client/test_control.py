"""The client of the control socket: connections, requests, answers and their errors."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.client.control import KeepAlives, Lines, answer_of, ask, attach, dial, follow
from netd.errors import NotRunningError, UsageError
from tests.client.fake_netd import FakeNetd
from tests.support.sockets import ABSTRACT

OK = {"ok": True}


def test_first_socket_that_accepts_gets_the_request(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "b", OK) as first, FakeNetd(tmp_path / "c", OK) as second:
        assert ask([f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/c"], ["kick", "id=0-7"]) == OK
    assert (first.requests, second.requests) == (["kick id=0-7"], [])


def test_abstract_socket_is_written_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + ABSTRACT[1:])
        listener.listen()
        connection, path = dial([ABSTRACT], ["status"])
        with connection, listener.accept()[0] as accepted:
            assert accepted.recv(99) == b"status\n"
            assert path == ABSTRACT


def test_octets_of_a_word_that_are_not_utf_8_are_sent_unchanged(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/c")
        listener.listen()
        connection, _ = dial([f"{tmp_path}/c"], ["enable", os.fsdecode(b"\xff")])
        with connection, listener.accept()[0] as accepted:
            assert accepted.recv(99) == b"enable \xff\n"


@pytest.mark.parametrize("word", ["", "a b", "a\n", "\ta"])
def test_word_with_blanks_is_a_usage_error_and_is_not_sent(tmp_path: Path, word: str) -> None:
    with FakeNetd(tmp_path / "c") as fake, pytest.raises(UsageError, match="expected a word without blanks"):
        ask([fake.path], ["enable", word])


def test_error_names_every_path_and_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotRunningError) as caught:
        ask([f"{tmp_path}/none", f"{tmp_path}/file", "x" * 200], ["status"])
    [problem] = caught.value.problems
    assert problem == (
        "netd is not running; looked at "
        f"{tmp_path}/none (No such file or directory), {tmp_path}/file (Connection refused), "
        f"{'x' * 200} (AF_UNIX path too long)"
    )
    with pytest.raises(NotRunningError, match="looked at nowhere"):
        ask([], ["status"])


@pytest.mark.parametrize("data", [b"", b"not JSON", b"[1]\n", b'{"ok": tr'])
def test_answer_that_is_no_object_is_an_error(tmp_path: Path, data: bytes) -> None:
    with FakeNetd(tmp_path / "c", data) as fake:
        with pytest.raises(
            NotRunningError, match=f"the process that listens at {tmp_path}/c does not answer as netd does"
        ):
            ask([fake.path], ["status"])


def test_answer_that_is_too_long_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netd.client.control._LONGEST", 100_000)
    with FakeNetd(tmp_path / "c", {"ok": True, "text": "x" * 1_000_000}) as fake:
        with pytest.raises(NotRunningError, match="does not answer as netd does"):
            ask([fake.path], ["status"])


def test_missing_answer_is_an_error_after_the_time_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/c")
        silent.listen()
        for request in (ask, lambda *how: next(follow(*how))):
            with pytest.raises(NotRunningError) as caught:
                request([f"{tmp_path}/c"], ["status"], 0.01)
            assert caught.value.problems == (f"netd at {tmp_path}/c: no answer in time",)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket without room in its queue, at ``c`` in the directory of the test."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(f"{tmp_path}/c")
        listener.listen(0)
        first.connect(f"{tmp_path}/c")
        yield listener


def test_request_waits_for_room_in_the_queue(full: socket.socket, tmp_path: Path) -> None:
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask([f"{tmp_path}/c"], ["status"])))
    asking.start()
    full.accept()[0].close()
    with full.accept()[0] as accepted:
        assert accepted.recv(99) == b"status\n"
        accepted.sendall(b'{"ok": true}\n')
    asking.join(10)
    assert answers == [OK]


def test_queue_that_stays_full_is_an_error_after_the_time_out(full: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match=f"netd at {tmp_path}/c: no answer in time"):
        ask([f"{tmp_path}/c"], ["status"], seconds=0.05)


def test_messages_follow_until_netd_closes(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "c", b'{"ok": true}\n\n{"a": 1}\n\n\n{"a": 2}\n') as fake:
        assert list(follow([fake.path], ["trace", "service=echo"])) == [OK, {"a": 1}, {"a": 2}]
    assert fake.requests == ["trace service=echo"]


def test_message_that_is_no_object_is_an_error(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "c", b'{"ok": true}\nhello\n') as fake:
        messages = follow([fake.path], ["trace"])
        assert next(messages) == OK
        with pytest.raises(NotRunningError, match="does not answer as netd does"):
            next(messages)


def test_text_of_an_answer_is_printable_and_the_answer_as_received_is_kept() -> None:
    received = {"a\x1b": ["\x1b]0;x\x07", {"b": "\u202e\n"}, 7, None, True]}
    answer = answer_of(json.dumps(received).encode(), "c")
    assert answer == {"a\\x1b": ["\\x1b]0;x\\x07", {"b": "\\u202e\\n"}, 7, None, True]}
    assert (answer.received, answer.path) == (received, "c")


def test_octets_behind_the_answer_are_kept(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "c", b'{"ok": true}\nmore') as fake:
        answer, connection, rest = attach([fake.path], ["talk"])
        with connection:
            assert (answer, bytes(rest) + connection.recv(9)) == (OK, b"more")


def test_lines_are_bounded_in_time_as_a_whole(tmp_path: Path) -> None:
    """A peer that sends an octet now and then does not keep the client."""
    reader, writer = socket.socketpair()
    with reader, writer:
        lines = Lines(reader, "c", 0.05)
        stopped = threading.Event()

        def drip() -> None:
            while not stopped.wait(0.001):
                writer.send(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(TimeoutError):
            lines.read()
        stopped.set()
        dripping.join()


def test_last_line_may_have_no_end(tmp_path: Path) -> None:
    reader, writer = socket.socketpair()
    with reader:
        with writer:
            writer.sendall(b"a\n\nb")
        lines = Lines(reader, "c", 10)
        assert [lines.read() for _ in range(4)] == [b"a", b"", b"b", None]


def test_messages_without_a_meaning_are_an_error_where_they_come_without_a_pause() -> None:
    keep_alives = KeepAlives("c")
    for _ in range(100):
        keep_alives.check(meant=False)
        keep_alives.check(meant=True)
    with pytest.raises(NotRunningError, match="messages without a meaning"):
        for _ in range(1000):
            keep_alives.check(meant=False)
