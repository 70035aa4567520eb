"""The tables of access rules of one config, in sealed memory that other processes can map and none can change."""

import fcntl
import mmap
import os
import weakref
from dataclasses import dataclass, field
from hashlib import blake2b

from netd.admission.access import AccessRules
from netd.admission.access_table import Access, compile_rules

_MAGIC = b"netd-access-0001"  # at the start, so that the memory is never empty, which mmap(2) rejects
_ALIGNED = 8
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class AccessTables:
    """The memory. ``descriptor`` refers to sealed memory of another process; without it, new memory is made.

    New memory is filled (`add`), then sealed (`seal`), and readable from then on. ValueError or OSError: the descriptor
    refers to something else.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        made = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("netd-access", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.descriptor = descriptor
        """The memfd, with which another process can map the same memory; open until `close_descriptor`."""
        self.close_descriptor = weakref.finalize(self, os.close, descriptor)
        """Call it once the descriptor will be sent to no other process. The mapping stays."""
        self._places: dict[bytes, AccessPlace] = {}
        self._end = 0
        self._octets: memoryview | None = None
        if made:
            self._write(_MAGIC)
        else:
            self._map()

    def add(self, rules: AccessRules) -> "AccessPlace":
        """Store the table of these rules, unless one of equal rules is stored. Return its place."""
        table = compile_rules(rules)
        digest = blake2b(table, digest_size=32).digest()
        place = self._places.get(digest)
        if place is None:
            place = self._places[digest] = AccessPlace(digest, self, self._end, len(table), rules.asks_groups)
            self._write(table + bytes(-len(table) % _ALIGNED))
        return place

    def _write(self, octets: bytes) -> None:
        # By write(2): memory with a writable mapping cannot be sealed (F_SEAL_WRITE, fcntl(2)).
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]
        self._end += len(octets)

    def seal(self) -> None:
        """End the filling. From here on no process can change the memory, and it can be read."""
        self._places = {}  # each refers to this object
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map()

    def table(self, offset: int, length: int) -> memoryview:
        """The octets of one table, which stay mapped as long as the view exists. ValueError: outside of the memory."""
        if not self._octets or not len(_MAGIC) <= offset <= offset + length <= len(self._octets):
            raise ValueError(f"there is no table of {length} octets at {offset}")
        return self._octets[offset : offset + length]

    def close(self) -> None:
        """Unmap the memory and close its descriptors. No table may be in use, and none can be read afterwards."""
        self.close_descriptor()
        if self._octets is not None:
            self._octets.release()
            self._octets = None
            self._mapping.close()

    def _map(self) -> None:
        # Memory without seals can be changed, or cut short, while it is read.
        if fcntl.fcntl(self.descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("no access tables: the memory is not sealed")
        # Private, since before Linux 6.7 memory with F_SEAL_WRITE cannot be mapped shared (fcntl(2)). No page is copied
        # as long as none is written.
        self._mapping = mmap.mmap(self.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        self._octets = memoryview(self._mapping)
        if self._octets[: len(_MAGIC)] != _MAGIC:
            raise ValueError("no access tables: the memory starts with other octets")


@dataclass(frozen=True, slots=True)
class AccessPlace:
    """The place of a table. Places of equal rules are equal, also in different memories."""

    digest: bytes
    """The BLAKE2b digest of the table's octets."""
    tables: AccessTables = field(compare=False, repr=False)
    offset: int = field(compare=False)
    length: int = field(compare=False)
    """Both in octets, the offset from the start of the memory."""
    asks_groups: bool = field(compare=False)
    """Whether a rule matches groups of UNIX peers."""

    def read(self) -> Access:
        """The table. The memory has to be sealed."""
        return Access(self.tables.table(self.offset, self.length))
