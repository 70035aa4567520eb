"""The memory of all access tables of a config: shared, sealed, with one table for equal rules."""

import mmap
import os

import pytest

from netd.addresses import parse_address
from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessTables
from netd.admission.access_table import Access, compile_rules
from tests.support.descriptors import copies

FIRST = AccessRules.model_validate({"deny": ["10.0.0.0/8", "gid:27"]})
SECOND = AccessRules.model_validate({"allow": ["2001:db8::/32"]})


def sealed(*rules: AccessRules) -> AccessTables:
    tables = AccessTables()
    for one in rules:
        tables.add(one)
    tables.seal()
    return tables


def test_tables_are_read_from_the_same_memory_by_its_descriptor() -> None:
    tables = AccessTables()
    first, second = tables.add(FIRST), tables.add(SECOND)
    tables.seal()
    assert (first.asks_groups, second.asks_groups) == (True, False)
    others = AccessTables(os.dup(tables.descriptor))
    for place, rules in ((first, FIRST), (second, SECOND)):
        table = others.table(place.offset, place.length)
        assert table == tables.table(place.offset, place.length) == compile_rules(rules)
        assert place.read().rules == Access(table).rules


def test_equal_rules_are_stored_once_and_equal_in_every_memory() -> None:
    tables, others = AccessTables(), AccessTables()
    first = tables.add(FIRST)
    size = os.fstat(tables.descriptor).st_size
    assert tables.add(FIRST.model_copy()) == first
    assert os.fstat(tables.descriptor).st_size == size
    others.add(SECOND)
    again = others.add(FIRST)
    assert again.offset != first.offset
    assert again == first
    assert others.add(SECOND) != first


def test_sealed_memory_cannot_be_changed_through_any_descriptor() -> None:
    tables = sealed(FIRST)
    size = os.fstat(tables.descriptor).st_size
    other = os.open(f"/proc/self/fd/{tables.descriptor}", os.O_RDWR)
    try:
        for descriptor in (tables.descriptor, other):
            for attempt in (
                lambda descriptor: os.pwrite(descriptor, b"x", 0),
                lambda descriptor: os.pwrite(descriptor, b"x", size),
                lambda descriptor: os.ftruncate(descriptor, size - 1),
                lambda descriptor: os.ftruncate(descriptor, size + 1),
                lambda descriptor: mmap.mmap(descriptor, size),
            ):
                with pytest.raises(PermissionError):
                    attempt(descriptor)
    finally:
        os.close(other)
    with pytest.raises(TypeError, match="read-only"):
        tables.table(16, 8)[0] = 0
    with pytest.raises(PermissionError):
        tables.add(SECOND)


def test_table_stays_readable_after_the_memory_object_is_deleted() -> None:
    tables = AccessTables()
    place = tables.add(FIRST)
    tables.seal()
    watched = os.dup(tables.descriptor)
    access = place.read()
    del tables, place
    # The mapping has a duplicated descriptor (mmap.mmap), and ends with the last object that reads from it.
    assert copies(watched) == 2
    assert not access.allows(parse_address("10.0.0.1"))
    del access
    assert copies(watched) == 1
    os.close(watched)


@pytest.mark.parametrize(("offset", "length"), [(0, 8), (-8, 8), (16, 10**6), (10**6, 1), (16, -1), (2**70, 1)])
def test_table_outside_of_the_memory_is_rejected(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="there is no table"):
        sealed(FIRST).table(offset, length)
    with pytest.raises(ValueError, match="there is no table"):
        AccessTables().table(offset, length)


def test_unsealed_or_foreign_memory_is_rejected() -> None:
    unsealed = AccessTables()
    with pytest.raises(ValueError, match="not sealed"):
        AccessTables(os.dup(unsealed.descriptor))
    with pytest.raises(OSError, match="Invalid argument"):
        AccessTables(os.open("/dev/null", os.O_RDONLY))
    foreign = AccessTables()
    os.pwrite(foreign.descriptor, b"x", 0)
    with pytest.raises(ValueError, match="no access tables"):
        foreign.seal()
