"""What several tests of streams take."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.stream.relay_ends import Ends
from tests.transport.stream.relayed import serving_relayed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["tcp-tcp", "tcp-unix", "unix-tcp", "unix-unix"])
def ends(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Ends]:
    near, far = request.param.split("-")
    with serving_relayed():
        one = Ends(server, near, far, tmp_path)
        yield one
        one.close()
        server.settle()
        until(lambda: not len(one.connections))
