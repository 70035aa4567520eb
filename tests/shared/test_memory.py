"""Memory of several processes."""

import os

import pytest

from netd.shared.ledger import Ledger
from netd.shared.table import Table


@pytest.mark.parametrize("size", [0, 2**30])
def test_nobody_can_take_shared_memory_away_from_the_others(size: int) -> None:
    for shared in (Table(), Ledger()):
        with pytest.raises(PermissionError):
            os.ftruncate(shared.descriptor, size)
        shared.close_descriptor()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(shared.descriptor)
