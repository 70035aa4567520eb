"""Fixtures of the tests of `netd probe` in this process."""

import socket
from collections.abc import Iterator

import pytest

from netd.client.probe.poller import Poller
from netd.client.probe.targets import Address


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def stream_server() -> Iterator[socket.socket]:
    """A listener that nothing accepts from but the test."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.settimeout(10)
        yield opened


@pytest.fixture
def closed() -> Iterator[Address]:
    """An address that refuses: bound, so that no other process gets it, and not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield socket.AF_INET, taken.getsockname()
