"""Shared memory: its seals, and descriptors of anything else."""

import fcntl
import os
import socket

import pytest

from netd.shared.daemon_limits import DaemonLimits
from netd.shared.memory import SharedMemory
from netd.shared.table import Table


@pytest.mark.parametrize("size", [0, 2**30])
def test_shared_memory_cannot_be_truncated_or_extended(size: int) -> None:
    for shared in (Table(), DaemonLimits()):
        with pytest.raises(PermissionError):
            os.ftruncate(shared.descriptor, size)
        shared.close_descriptor()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(shared.descriptor)


@pytest.mark.parametrize("kind", [Table, DaemonLimits])
def test_memory_of_another_size_or_without_seals_is_rejected(kind: type[Table] | type[DaemonLimits]) -> None:
    made = kind()
    size = os.fstat(made.descriptor).st_size
    assert kind(os.dup(made.descriptor)).octets.nbytes == size
    other = DaemonLimits() if kind is Table else Table()
    unsealed = os.memfd_create("netd-test", os.MFD_ALLOW_SEALING)  # another process could truncate it
    os.ftruncate(unsealed, size)
    half = os.memfd_create("netd-test", os.MFD_ALLOW_SEALING)
    os.ftruncate(half, size)
    fcntl.fcntl(half, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    here, there = socket.socketpair()
    foreign = [
        *(os.dup(shared.descriptor) for shared in (other, SharedMemory("x", size - 8), SharedMemory("x", size + 8))),
        unsealed,
        half,
        here.detach(),
    ]
    there.close()
    for descriptor in foreign:
        with pytest.raises(ValueError, match=f"not a sealed memory netd-[a-z]+ of {size} octets"):
            kind(descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)  # the object owned it, and closed it
