"""The tables of access rules of one config, in memory that other processes can have too, and that none can change."""

import fcntl
import mmap
import os
import weakref
from dataclasses import dataclass, field
from hashlib import blake2b

from netd.admission.access import AccessRules
from netd.admission.access_table import Access, compile_rules

_MAGIC = b"netd-access-0001"  # in front, so that the memory is never empty, which mmap(2) refuses
_ALIGNED = 8
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class AccessTables:
    """The memory. ``descriptor`` is that of one made by another process, which must be sealed; else one is made.

    It is filled (`add`), then sealed (`seal`), and can be read from then on. ValueError, OSError: it is none of these.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        made = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("netd-access", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.descriptor = descriptor
        """What another process needs to see the same; open until `close_descriptor`."""
        self.close_descriptor = weakref.finalize(self, os.close, descriptor)
        """To be called when no other process will be told of it; what is in it stays."""
        self._places: dict[bytes, AccessPlace] = {}
        self._end = 0
        self._octets: memoryview | None = None
        if made:
            self._write(_MAGIC)
        else:
            self._map()

    def add(self, rules: AccessRules) -> "AccessPlace":
        """Store the table of these rules, if there is none of equal ones; where it lies."""
        table = compile_rules(rules)
        digest = blake2b(table, digest_size=32).digest()
        place = self._places.get(digest)
        if place is None:
            place = self._places[digest] = AccessPlace(digest, self, self._end, len(table), rules.asks_groups)
            self._write(table + bytes(-len(table) % _ALIGNED))
        return place

    def _write(self, octets: bytes) -> None:
        # By write(2): what is mapped to be written cannot be sealed (F_SEAL_WRITE, fcntl(2)).
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]
        self._end += len(octets)

    def seal(self) -> None:
        """That was all: from here on no process can change it, and it can be read."""
        self._places = {}  # each holds this
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map()

    def table(self, offset: int, length: int) -> memoryview:
        """The octets of one table, which stay where they are as long as this is kept. ValueError: there are none."""
        if not self._octets or not len(_MAGIC) <= offset <= offset + length <= len(self._octets):
            raise ValueError(f"there is no table of {length} octets at {offset}")
        return self._octets[offset : offset + length]

    def close(self) -> None:
        """Give up the memory and every descriptor of it, where no table is in use. Nothing can be read after that."""
        self.close_descriptor()
        if self._octets is not None:
            self._octets.release()
            self._octets = None
            self._mapping.close()

    def _map(self) -> None:
        # What is not sealed can be changed, or cut short, while it is read.
        if fcntl.fcntl(self.descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("these are no access tables: not sealed")
        # Private, since before Linux 6.7 what is sealed against writing cannot be mapped to be shared (fcntl(2)). No
        # page is copied as long as none is written.
        self._mapping = mmap.mmap(self.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        self._octets = memoryview(self._mapping)
        if self._octets[: len(_MAGIC)] != _MAGIC:
            raise ValueError("these are no access tables")


@dataclass(frozen=True, slots=True)
class AccessPlace:
    """Where a table lies. Those of equal rules are equal, also in different memories."""

    digest: bytes
    """Of the table's octets."""
    tables: AccessTables = field(compare=False, repr=False)
    offset: int = field(compare=False)
    length: int = field(compare=False)
    """Octets, from the start of the memory."""
    asks_groups: bool = field(compare=False)
    """Whether a UNIX peer's groups matter."""

    def read(self) -> Access:
        """The table, ready to be asked, once the memory is sealed."""
        return Access(self.tables.table(self.offset, self.length))
