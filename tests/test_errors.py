"""Errors: their exit codes (sysexits(3)), their lines, and the answer to a peer."""

import pytest

from netd.errors import (
    EXIT_CONFIG,
    EXIT_NO,
    EXIT_OSERR,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    ConfigError,
    HungUpError,
    NotRunningError,
    OpenError,
    OperatorError,
    PeerError,
    UnreachableError,
    UsageError,
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
    error = ConfigError((line for line in ("a", "b")), (line for line in ("c",)))
    assert (error.problems, error.notices, str(error)) == (("a", "b"), ("c",), "a\nb")


def test_peer_receives_an_ascii_line() -> None:
    assert PeerError("too long").answer == b"error: too long\r\n"
    assert PeerError("grüß").answer == b"error: gr??\r\n"
