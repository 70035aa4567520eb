"""The cells of a key in a sketch."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.shared.sketch import ROWS, places


@given(st.binary(), st.sampled_from([1, 4096, 65536]))
def test_key_has_one_cell_in_each_row(key: bytes, width: int) -> None:
    cells = places(key, width)
    assert [cell // width for cell in cells] == list(range(ROWS))
    assert places(bytes(bytearray(key)), width) == cells


@pytest.mark.parametrize("width", [4096, 65536])
def test_rows_are_independent(width: int) -> None:
    # If two rows used the same bits of the hash, keys that share a cell in one would share one in the other.
    shared = Counter[int]()
    mine = places(b"mine", width)
    for number in range(100_000):
        same = sum(a == b for a, b in zip(mine, places(number.to_bytes(4), width), strict=True))
        shared[same] += 1
    assert shared[3] == shared[4] == 0
    assert shared[1] < 4 * 100_000 / width * 2 + 20


def test_cells_depend_on_a_secret_of_the_process() -> None:
    code = "from netd.shared.sketch import places; print(places(b'192.0.2.7', 65536))"
    cells = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "1")
    }
    assert len(cells) == 2
