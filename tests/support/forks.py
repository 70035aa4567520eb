"""A forked process of a test."""

import os
import signal
from collections.abc import Callable


def in_child(function: Callable[[], object], seconds: int = 20) -> None:
    """Call ``function`` in a forked process, and wait until it has returned there. It fails after so many seconds."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
