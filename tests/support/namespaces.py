"""Network namespaces."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable

import pytest

from tests.support.programs import need

_CLONE_NEWNET = 0x40000000  # linux/sched.h


def enter_namespace() -> None:
    """Move this thread to a new network namespace, with all sockets that it opens from then on."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_namespace(run: Callable[[], None], *commands: str) -> None:
    """Run a test in a new network namespace, with loopback up and after these ``ip`` commands.

    A namespace belongs to a thread, and so do the sockets opened in it. Requires root; without, the test is skipped, or
    fails if NETD_REQUIRE_TOOLS is set.
    """
    need("ip")
    failure: list[BaseException] = []

    def enter_and_run() -> None:
        try:
            enter_namespace()
            for command in ("link set lo up", *commands):
                subprocess.run(["ip", *command.split()], check=True)
            run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter_and_run)
    thread.start()
    thread.join()
    if failure and isinstance(failure[0], PermissionError) and not os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.skip("not root")
    if failure:
        raise failure[0]
