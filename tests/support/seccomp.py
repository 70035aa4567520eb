"""System call filters (seccomp(2))."""

import ctypes
import errno
import os
import platform
import socket
import struct
import threading
from collections.abc import Callable

import pytest

_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_SOCKET = {"x86_64": 41, "aarch64": 198, "riscv64": 198, "ppc64le": 326, "s390x": 359}  # socket(2) by machine
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def without_family(family: int, run: Callable[[], None]) -> None:
    """Run in a thread in which socket(2) answers EPERM for this address family."""
    if (number := _SOCKET.get(platform.machine())) is None:
        pytest.skip("the number of socket(2) on this machine is not known")
    instructions = b"".join(
        struct.pack("HBBI", *one)
        for one in (
            (_LOAD, 0, 0, 0),  # the number of the system call, in struct seccomp_data
            (_JUMP_EQUAL, 0, 3, number),
            (_LOAD, 0, 0, 16),  # its first argument
            (_JUMP_EQUAL, 0, 1, family),
            (_RETURN, 0, 0, _ERROR | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    failure: list[BaseException] = []

    def filter_and_run() -> None:
        try:
            buffer = ctypes.create_string_buffer(instructions, len(instructions))
            program = struct.pack("HP", len(instructions) // 8, ctypes.addressof(buffer))
            prctl = ctypes.CDLL(None, use_errno=True).prctl
            for arguments in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _MODE_FILTER, program, 0, 0)):
                if prctl(*arguments):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            with pytest.raises(PermissionError):
                socket.socket(family)
            run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=filter_and_run)  # the filter ends with it
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
