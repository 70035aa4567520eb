"""What the end of a program means, in codes and in words."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Finished
from netd.services.check import verdict

CODES = {"0": "good", "200": "odd", "signal": "ended", "timeout": "late", "other": "bad"}


@pytest.mark.parametrize(
    ("code", "error", "expected"),
    [
        (0, "", "good"),
        (1, "", "bad"),
        (200, "", "odd"),
        (-9, "", "ended"),
        (None, "timeout", "late"),
        (None, "no such file", "bad"),
        (None, "0", "good"),
    ],
)
def test_code_of_each_end(code: int | None, error: str, expected: str) -> None:
    assert verdict.find(CODES, Finished(code, b"", error)) == expected


def test_end_without_a_code_of_its_own_is_other() -> None:
    for finished in (Finished(0, b""), Finished(-9, b""), Finished(None, b"", "timeout")):
        assert verdict.find({"other": 7}, finished) == 7


@pytest.mark.parametrize("key", ["0", "3", "255", "signal", "timeout", "other"])
def test_codes_have_the_keys_that_an_end_may_have(key: str) -> None:
    assert verdict.check_code(key) == key


@pytest.mark.parametrize("key", ["256", "-1", "00", "01", "x", "", "1 ", "٣", "SIGKILL", "default"])
def test_other_keys_of_codes_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="expected an exit code from 0 to 255, signal, timeout or other, got"):
        verdict.check_code(key)


@pytest.mark.parametrize(
    ("code", "error", "expected"),
    [
        (0, "", "exit code 0"),
        (255, "", "exit code 255"),
        (-signal.SIGSEGV, "", "ended by SIGSEGV"),
        (-40, "", "ended by signal 40"),
        (None, "timeout", "timed out"),
        (None, "/usr/local/secret: no such file", "could not be started"),
    ],
)
def test_description_of_an_end_names_no_path(code: int | None, error: str, expected: str) -> None:
    assert verdict.describe(Finished(code, b"", error)) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"OK - load 0.1\nmore\n", "OK - load 0.1"),
        (b"\r\n\nOK\r\n", "OK"),
        (b"no end", "no end"),
        (b" \t \n", "exit code 2"),
        (b"", "exit code 2"),
        (b"x" * 4096, "x" * 1024),
        (b"a\tb\x1b[31m", "a b\\x1b[31m"),
    ],
)
def test_first_line(output: bytes, expected: str) -> None:
    assert verdict.first_line(Finished(2, output)) == expected


def test_first_line_of_a_program_that_did_not_end_by_itself_is_not_trusted() -> None:
    assert verdict.first_line(Finished(None, b"OK\n", "timeout")) == "timed out"
    assert verdict.first_line(Finished(-9, b"OK\n")) == "ended by SIGKILL"


def test_safe_text_keeps_lines_and_words() -> None:
    assert verdict.safe("grün\r\nzwei\n".encode()) == "grün\nzwei\n"
    assert verdict.safe("a\u202eb\x9b\n\u2028".encode()) == "a\\u202eb\\x9b\n\\u2028"
    assert verdict.safe(b"\xff\0\r\x1b]0;x\x07\n") == "�\\x00\\r\\x1b]0;x\\x07\n"


@given(st.binary(max_size=200))
def test_safe_text_is_printable(output: bytes) -> None:
    assert verdict.safe(output).replace("\n", "").isprintable()
