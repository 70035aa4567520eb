"""reply, qotd, whoami."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netd.conversation import Credentials, Peer
from tests.support import PEER, converse, service


def test_reply_answers_the_first_message_and_closes() -> None:
    reply = service("reply")
    assert converse(reply.stream(PEER), [b"hello\n", b"again\n"]) == b"hi\n"
    assert converse(reply.stream(PEER), [b"hello\r\n"]) == b"hi\r\n"
    assert converse(reply.stream(PEER), [b"hello"]) == b"hi"
    assert converse(reply.stream(PEER), []) == b""
    assert reply.datagram(b"hello\n", PEER) == b"hi\n"
    assert reply.datagram(b"", PEER) == b"hi"


def test_reply_unasked_and_with_a_text_of_its_own() -> None:
    assert converse(service("reply", when="connect").stream(PEER), []) == b"hi\r\n"
    text = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
    assert converse(service("reply", text=text).stream(PEER), [b"GET / HTTP/1.0\r\n\r\n"]) == text.encode()
    assert service("reply", text="grüß").datagram(b"x", PEER) == "grüß".encode()


def test_qotd_says_one_of_its_quotes() -> None:
    qotd = service("qotd", quotes=["One\ntwo", "Three"])
    said = {converse(qotd.stream(PEER), [b"x"]) for _ in range(50)}
    assert said == {b"One\r\ntwo\r\n", b"Three\r\n"}
    assert {qotd.datagram(b"", PEER) for _ in range(50)} == said


def test_a_datagram_carries_less_than_512_characters_of_a_quote() -> None:
    qotd = service("qotd", quotes=["x" * 600])
    assert qotd.datagram(b"", PEER) == b"x" * 511
    assert converse(qotd.stream(PEER), []) == b"x" * 600 + b"\r\n"


def test_qotd_from_a_fortune_file(tmp_path: Path) -> None:
    file = tmp_path / "fortunes"
    file.write_text("First\n\t- someone\n%\nSecond\n%\n")
    qotd = service("qotd", file=str(file))
    assert {converse(qotd.stream(PEER), []) for _ in range(50)} == {b"First\r\n        - someone\r\n", b"Second\r\n"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "no quotes in it"),
        (b"%\n%\n", "no quotes in it"),
        (b"caf\xc3\xa9", "ASCII"),
        (b"a\x1b[1m", "printable ASCII"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "fortunes"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        service("qotd", file=str(file))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "fortunes"
    file.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        service("qotd", file=str(file))


@pytest.mark.parametrize(
    "options", [{"quotes": []}, {"quotes": [""]}, {"quotes": ["café"]}, {"quotes": ["a"], "file": "b"}, {"quotes": "a"}]
)
def test_quotes_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        service("qotd", **options)


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (PEER, b"peer=192.0.2.7:5353 local=192.0.2.1:7 transport=tcp family=ipv4\r\n"),
        (Peer("udp", "::1", 5, "::1", 7), b"peer=[::1]:5 local=[::1]:7 transport=udp family=ipv6\r\n"),
        (
            Peer("unix", "", 0, "/run/x", 0, Credentials(1, 2, 3)),
            b"peer=pid=1,uid=2,gid=3 local=/run/x transport=unix family=unix\r\n",
        ),
    ],
)
def test_whoami(peer: Peer, line: bytes) -> None:
    whoami = service("whoami")
    assert converse(whoami.stream(peer), []) == line
    assert whoami.datagram(b"", peer) == line
