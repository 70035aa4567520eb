"""Namespaces of networks and of mounts."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.programs import need, need_root

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


def embryonic_resets() -> int:
    """The connections that were reset before their handshake was complete, in the network namespace of this thread."""
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    return int(dict(zip(lines[0].split(), lines[1].split(), strict=True))["EmbryonicRsts"])


# A script that runs a command with a /dev of its own, where nothing listens at /dev/log.
_OWN_DEV = """
mount -t tmpfs own /dev
for one in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 /dev/${one%:*} c 1 ${one#*:}; done
exec "$@"
"""


def with_own_dev(*command: object) -> list[str]:
    """The command that runs another one with a /dev of its own. Skips the test without root."""
    need_root()
    need("unshare")
    return ["unshare", "-m", "sh", "-c", _OWN_DEV, "sh", *(str(word) for word in command)]


def in_mounts_of(process: int, *command: object) -> list[str]:
    """The command that runs another one in the mount namespace of a process."""
    return ["nsenter", "-t", str(process), "-m", *(str(word) for word in command)]
