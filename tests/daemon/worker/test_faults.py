"""Exceptions of services while a worker prepares a config."""

import errno
import os

import pytest
from pydantic import ValidationError

from netd.daemon.messages.from_worker import LONGEST_ERROR
from netd.daemon.worker.faults import reason
from netd.services.daytime import Daytime


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "No such file or directory"),
        (ValueError("no such thing"), "no such thing"),
        (KeyError(), "KeyError()"),
        (ValueError("x" * 10_000), "x" * LONGEST_ERROR),
    ],
)
def test_reason_is_the_text_of_the_exception_within_a_bound(error: Exception, text: str) -> None:
    assert reason(error) == text


def test_reason_of_options_that_are_invalid_here_is_one_line() -> None:
    with pytest.raises(ValidationError) as raised:
        Daytime.Options.model_validate({"timezone": "America/None"})
    assert reason(raised.value) == (
        "options.timezone: unknown time zone 'America/None': expected an IANA name such as Asia/Shanghai"
    )
