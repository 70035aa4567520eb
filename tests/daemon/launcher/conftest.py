"""What several tests of the launcher take."""

from collections.abc import Iterator

import pytest

from tests.daemon.launcher.launched import Launched, Worker


@pytest.fixture
def launched() -> Iterator[Launched]:
    made = Launched()
    yield made
    made.close()


@pytest.fixture
def worker(launched: Launched) -> Worker:
    return launched.workers[0]
