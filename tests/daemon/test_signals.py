"""Signals as events of the loop."""

import os
import signal
from collections.abc import Iterator

import pytest

from netd.daemon.signals import Signals
from netd.transport.loop import Loop

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of this process, which are restored at the end."""
    before = {number: signal.getsignal(number) for number in _WATCHED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def received(loop: Loop, *sent: signal.Signals) -> list[str]:
    """The names with which the loop is called after these signals were sent to this process."""
    names: list[str] = []
    with Signals(loop, names.append):
        for number in sent:
            os.kill(os.getpid(), number)
        loop.later(0.05, loop.stop)
        loop.run()
    return names


def test_loop_is_called_with_the_name_of_each_signal(loop: Loop) -> None:
    assert received(loop, signal.SIGHUP, signal.SIGUSR1) == ["SIGHUP", "SIGUSR1"]


def test_repeated_signals_count_once_but_for_those_that_stop(loop: Loop) -> None:
    names = received(loop, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
    assert names == ["SIGHUP", "SIGTERM", "SIGTERM", "SIGINT"]


def test_signals_after_the_context_are_ignored(loop: Loop) -> None:
    assert received(loop) == []
    for number in _WATCHED[:-1]:
        os.kill(os.getpid(), number)  # would end this process
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
