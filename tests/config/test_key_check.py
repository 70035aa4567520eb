"""Checks in a process of their own."""

import os
import signal

import pytest

from netd.config.key_check import check_apart


def test_check_leaves_nothing_in_this_process() -> None:
    seen: list[int] = []
    check_apart(lambda: seen.append(os.getpid()))
    assert not seen


def test_fault_is_raised_here() -> None:
    def find(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="^the key is not that of the certificate$"):
        check_apart(lambda: find("the key is not that of the certificate"))
    with pytest.raises(ValueError, match="^x{2000}$"):
        check_apart(lambda: find("x" * 5000))


def test_bug_and_end_of_the_check_are_no_success() -> None:
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        check_apart(lambda: 1 // 0)
    with pytest.raises(ValueError, match="has ended"):
        check_apart(lambda: os.kill(os.getpid(), signal.SIGKILL))
