"""Memory that several processes have at once."""

import fcntl
import mmap
import os
import weakref

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

MOST_WORKERS = 64
"""There is room for so many: each writes in a place of its own, by its number."""


class SharedMemory:
    """Memory that other processes can have too, by its descriptor; zero at first, and taking room where it is used.

    ``descriptor`` is that of memory made by another process; else it is made, under ``name``. It passes to this object,
    also where ValueError says that it is no such memory.
    """

    def __init__(self, name: str, size: int, descriptor: int | None = None) -> None:
        made = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, size)
            # A process that cut it short would take the others down with it.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self.descriptor = descriptor
        """What another process needs to see the same; open until `close_descriptor`."""
        self.close_descriptor = weakref.finalize(self, os.close, descriptor)
        """To be called when no other process will be told of it; what is in it stays."""
        if not (made or _is_sealed(descriptor, size)):
            raise ValueError(f"this is no memory {name} of {size} octets")
        self.octets = memoryview(mmap.mmap(descriptor, size))


def _is_sealed(descriptor: int, size: int) -> bool:
    """Whether this is memory of that size, and stays so."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:  # it is something else, which has no seals
        return False
    return seals & _SEALS == _SEALS and os.fstat(descriptor).st_size == size
