"""Other users of this host, and code and commands that run as one."""

import functools
import os
import subprocess
import sys
import traceback
from collections.abc import Callable

import pytest

from tests.support.programs import need

ALEX, MALLORY = 1234, 1235  # other users, which need not exist


def as_user(user: int, do: Callable[[], object]) -> None:
    """Do something as another user, in a child process. Raises AssertionError if it fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "it failed there; see its traceback"


@functools.cache
def as_unprivileged_user() -> tuple[str, ...]:
    """A prefix for a command that runs it as another user than root; empty if this process is not root.

    The command can read the files that root can, since the checkout or the interpreter may be in a directory that other
    users cannot enter, such as /root. If it cannot, the test is skipped, or fails if NETD_REQUIRE_TOOLS is set.
    """
    if os.geteuid() != 0:
        return ()
    need("setpriv")
    become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for prefix in ((*become, *read), become):  # a container may lack the capability
        done = subprocess.run([*prefix, sys.executable, "-c", "import netd.cli.main"], capture_output=True, check=False)
        if done.returncode == 0:
            return prefix
    reason = f"no other user may read this checkout or {sys.executable}: {done.stderr.decode().strip()[-200:]}"
    if os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
