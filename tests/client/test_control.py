"""The client of the control socket: connections, requests, answers and their errors."""

import os
import socket
from pathlib import Path

import pytest

from netd.client.control import ask, dial, follow
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
        "netd is not running, or this user may not connect to it; looked at "
        f"{tmp_path}/none (No such file or directory), {tmp_path}/file (Connection refused), "
        f"{'x' * 200} (AF_UNIX path too long)"
    )
    with pytest.raises(NotRunningError, match="looked at nowhere"):
        ask([], ["status"])


@pytest.mark.parametrize("data", [b"", b"not JSON", b"[1]\n", b'{"ok": tr'])
def test_answer_that_is_no_object_is_an_error(tmp_path: Path, data: bytes) -> None:
    with FakeNetd(tmp_path / "c", data) as fake:
        with pytest.raises(NotRunningError, match=f"the process that listens at {tmp_path}/c is not netd"):
            ask([fake.path], ["status"])


def test_answer_that_is_too_long_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netd.client.control._LONGEST", 100_000)
    with FakeNetd(tmp_path / "c", {"ok": True, "text": "x" * 1_000_000}) as fake:
        with pytest.raises(NotRunningError, match="is not netd"):
            ask([fake.path], ["status"])


def test_missing_answer_is_an_error_after_the_time_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/c")
        silent.listen()
        for request in (ask, lambda *how: next(follow(*how))):
            with pytest.raises(NotRunningError) as caught:
                request([f"{tmp_path}/c"], ["status"], 0.01)
            assert caught.value.problems == (f"netd at {tmp_path}/c: no answer in time",)


def test_messages_follow_until_netd_closes(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "c", b'{"ok": true}\n\n{"a": 1}\n\n\n{"a": 2}\n') as fake:
        assert list(follow([fake.path], ["trace", "service=echo"])) == [OK, {"a": 1}, {"a": 2}]
    assert fake.requests == ["trace service=echo"]


def test_message_that_is_no_object_is_an_error(tmp_path: Path) -> None:
    with FakeNetd(tmp_path / "c", b'{"ok": true}\nhello\n') as fake:
        messages = follow([fake.path], ["trace"])
        assert next(messages) == OK
        with pytest.raises(NotRunningError, match="is not netd"):
            next(messages)
