"""Checks private keys in a process of their own, the memory of which ends with it.

OpenSSL keeps copies of a key that it has loaded. Launchers are forks of the supervisor, and have no use for them.
"""

import os
from collections.abc import Callable

from netd.errors import OperatorError

_LONGEST = 2000  # octets of an answer
_GOOD = b"+"


def check_apart(check: Callable[[], object]) -> None:
    """Call ``check`` in a child process. Raises its ValueError here, `OperatorError` where no child can be started."""
    try:
        reader, writer = os.pipe()
        pid = os.fork()
    except OSError as error:
        raise OperatorError([f"cannot start a process that checks a key: {error.strerror}"]) from None
    if pid == 0:
        _run(check, writer)
    os.close(writer)
    with open(reader, "rb") as answers:
        answer = answers.read(_LONGEST)
    os.waitpid(pid, 0)
    if answer != _GOOD:
        raise ValueError(answer.decode(errors="replace") or "the process that checked it has ended")


def _run(check: Callable[[], object], writer: int) -> None:
    try:
        answer = _GOOD
        try:
            check()
        except ValueError as error:
            answer = str(error).encode(errors="replace")[:_LONGEST]
        except Exception as error:  # a bug, which a config with a key must not hide
            answer = repr(error).encode(errors="replace")[:_LONGEST]
        os.write(writer, answer)
    finally:
        os._exit(0)
