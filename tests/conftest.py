"""Fixtures, and the settings of hypothesis."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support import Server

# A loaded machine is no reason to fail, and a failure has to come again.
settings.register_profile("netd", deadline=None, derandomize=True)
settings.load_profile("netd")


@pytest.fixture(autouse=True)
def log() -> Iterator[list[dict[str, Any]]]:
    """The events of this process, instead of lines on standard error."""
    events: list[dict[str, Any]] = []

    def keep(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        events.append({"level": method, **event})
        raise structlog.DropEvent

    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        cache_logger_on_first_use=False,
    )
    yield events
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server in this process."""
    with Server() as running:
        yield running
