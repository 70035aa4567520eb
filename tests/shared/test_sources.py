"""Connections by source: never one too many, and hardly any refused for other sources."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netd.shared.sources import BLOCK, Sources

MINE = bytes([192, 0, 2, 7])


def cells(workers: int) -> memoryview:
    return memoryview(bytearray(workers * BLOCK * 4)).cast("i")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=200), st.integers(1, 4))
def test_source_never_has_more_than_its_limit_in_all_workers_together(
    script: list[tuple[int, int, bool]], limit: int
) -> None:
    shared = cells(3)
    workers = [Sources(shared, number) for number in range(3)]
    held: Counter[tuple[int, int]] = Counter()
    for worker, source, opens in script:
        have = sum(number for (_, other), number in held.items() if other == source)
        if opens:
            added = workers[worker].add(bytes([10, 0, 0, source]), limit, 3)
            # With six sources in four rows of 4,096, two that share all their cells would be a defect.
            assert added == (have < limit)
            held[worker, source] += added
        elif held[worker, source]:
            workers[worker].remove(bytes([10, 0, 0, source]))
            held[worker, source] -= 1


def test_source_among_thousands_is_refused_few_connections() -> None:
    shared = Sources(cells(1), 0)
    for number in range(8192):
        assert shared.add(number.to_bytes(4), 64, 1), "each has one connection"
    mine = sum(shared.add(MINE, 64, 1) for _ in range(100))
    assert 50 <= mine <= 64
