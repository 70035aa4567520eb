"""Copies of files in sealed memory, which processes pass on to those that may not read the files.

A private key is copied by the kernel alone. So no memory of Python has it, which would keep a copy after its end.
"""

import fcntl
import mmap
import os
import stat
import weakref
from collections.abc import Sequence
from hashlib import blake2b

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
LONGEST = 2**20
"""Octets of the longest file. The certificates of all public authorities have a quarter of that."""


class SealedFiles:
    """The content of files, one after the other. Copies of the same content are equal."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` refers to sealed memory, and belongs to this object."""
        self.descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)
        """Close the descriptor, as the end of this object does."""
        with self.mapped() as octets:
            self._digest = blake2b(octets, digest_size=32).digest()

    @classmethod
    def copy(cls, paths: Sequence[str]) -> "SealedFiles":
        """Copy these files. Raises OSError with the name of the file, ValueError if it is none of a certificate."""
        made = os.memfd_create("netd-tls", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            for path in paths:
                _append(made, path)
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(made)
            raise
        return cls(made)

    @property
    def path(self) -> str:
        """A path at which this process can open it."""
        return descriptor_path(self.descriptor)

    def mapped(self) -> mmap.mmap:
        """Its octets. Private, as before Linux 6.7 such memory cannot be mapped in another way (fcntl(2))."""
        return mmap.mmap(self.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealedFiles) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


def descriptor_path(descriptor: int) -> str:
    """A path at which this process can open what a descriptor of it refers to (proc(5))."""
    return f"/proc/self/fd/{descriptor}"


def _append(made: int, path: str) -> None:
    """Append a file and a line end, which its last line may lack."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for its other end
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no regular file")
        if found.st_size > LONGEST:
            raise ValueError(f"{path} is longer than {LONGEST} octets")
        left = LONGEST
        try:
            while left and (copied := os.sendfile(made, source, None, left)):
                left -= copied
        except OSError as error:
            error.filename = path
            raise
        os.write(made, b"\n")
    finally:
        os.close(source)
