"""The cells of a key in a sketch."""

import os
import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netd.shared.sketch import ROWS, places


@given(st.binary(), st.sampled_from([1, 4096, 65536]))
def test_key_has_one_cell_in_each_row(key: bytes, width: int) -> None:
    cells = places(key, width)
    assert [cell // width for cell in cells] == list(range(ROWS))
    assert places(bytes(bytearray(key)), width) == cells


def test_rows_use_different_bits_of_the_hash() -> None:
    # With the same bits in two rows, each key that shares a cell in one of them would share it in the other too.
    mine = places(b"mine", 256)
    shared = Counter[int]()
    for number in range(100_000):
        shared[sum(a == b for a, b in zip(mine, places(number.to_bytes(4), 256), strict=True))] += 1
    assert 1300 < shared[1] < 1800, "about 4 / 256 of all"
    assert shared[2] < 60, "about 6 / 256 ** 2 of all, which are 9"


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
