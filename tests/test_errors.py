"""Errors: their exit codes (sysexits(3)), their lines, and the answer to a peer."""

import re

import pytest

from netd.errors import (
    EXIT_CONFIG,
    EXIT_NO,
    EXIT_OSERR,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    ConfigError,
    HungUpError,
    InvalidValueError,
    NotRunningError,
    OpenError,
    OperatorError,
    PeerError,
    UnreachableError,
    UsageError,
    faults_of,
    origin_of,
)


@pytest.mark.parametrize(
    ("error", "code", "number"),
    [
        (ConfigError, EXIT_CONFIG, 78),
        (OpenError, EXIT_OSERR, 71),
        (NotRunningError, EXIT_UNAVAILABLE, 69),
        (UnreachableError, EXIT_UNAVAILABLE, 69),
        (UsageError, EXIT_USAGE, 64),
        (HungUpError, EXIT_NO, 1),
    ],
)
def test_error_of_the_operator_has_its_exit_code(error: type[OperatorError], code: int, number: int) -> None:
    assert error(["x"]).exit_code == code == number


def test_problems_are_one_line_each() -> None:
    error = ConfigError(line for line in ("a", "b"))
    assert (error.problems, str(error)) == (("a", "b"), "a\nb")


def test_a_value_has_one_fault_or_several_each_with_its_hint() -> None:
    one = InvalidValueError("unknown word 'tpc'", "did you mean 'tcp'?")
    assert (one.faults, str(one)) == ((one,), "unknown word 'tpc'; did you mean 'tcp'?")
    both = InvalidValueError("first", "", [one])
    assert [(fault.message, fault.hint) for fault in both.faults] == [("first", ""), (one.message, one.hint)]
    assert str(both) == f"first; {one}"
    assert faults_of(both) == both.faults
    [other] = faults_of(ValueError("as it is"))
    assert (other.message, other.hint) == ("as it is", "")


def test_peer_receives_an_ascii_line() -> None:
    assert PeerError("too long").answer == b"error: too long\r\n"
    assert PeerError("grüß").answer == b"error: gr??\r\n"


def test_origin_is_the_line_that_raised_and_not_what_the_error_says() -> None:
    with pytest.raises(ValueError, match="hello") as caught:
        int("hello")
    assert re.fullmatch(rf"ValueError {re.escape(__file__)}:\d+", origin_of(caught.value))
    assert origin_of(ValueError("hello")) == "ValueError "
