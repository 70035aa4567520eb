"""qotd: quotes of the config and of a file, and quotes that are refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netd.testing import datagram, script
from tests.support.services import service


def test_qotd_sends_one_of_its_quotes() -> None:
    qotd = service("qotd", quotes=["One\ntwo", "Three"])
    sent = {script(qotd).output() for _ in range(50)}
    assert sent == {b"One\r\ntwo\r\n", b"Three\r\n"}
    assert {datagram(qotd, b"") for _ in range(50)} == sent


def test_a_datagram_carries_less_than_512_characters_of_a_quote() -> None:
    qotd = service("qotd", quotes=["x" * 600])
    assert datagram(qotd, b"") == b"x" * 511
    script(qotd).sends(b"x" * 600 + b"\r\n").ends()


def test_qotd_from_a_fortune_file(tmp_path: Path) -> None:
    file = tmp_path / "fortunes"
    file.write_text("First\n\t- someone\n%\nSecond\n%\n")
    qotd = service("qotd", file=str(file))
    assert {script(qotd).output() for _ in range(50)} == {b"First\r\n        - someone\r\n", b"Second\r\n"}


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
def test_file_that_cannot_be_used_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "fortunes"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        service("qotd", file=str(file))


def test_file_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "fortunes"
    file.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        service("qotd", file=str(file))


@pytest.mark.parametrize(
    "options", [{"quotes": []}, {"quotes": [""]}, {"quotes": ["café"]}, {"quotes": ["a"], "file": "b"}, {"quotes": "a"}]
)
def test_invalid_quotes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        service("qotd", **options)
