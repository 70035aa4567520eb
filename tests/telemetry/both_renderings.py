"""The lines that are rendered from templates in JSON, beside those that structlog renders."""

import json
import os
from collections.abc import Callable
from typing import Any

import structlog

from netd.telemetry import logs


def assert_same_fields(log: Callable[[], object]) -> None:
    """Assert that what ``log`` makes events of its own for has the same fields, in the same order, in both."""
    reader, writer = os.pipe()
    kept: list[dict[str, Any]] = []

    def keep(logger: Any, level: str, event: dict[str, Any]) -> str:
        kept.append({"level": level, **event})
        raise structlog.DropEvent

    try:
        sink = logs.set_up("info", "json", writer)
        for processors in (structlog.get_config()["processors"], [keep]):
            structlog.configure(processors=processors)  # type: ignore[arg-type]
            log()
        sink.close()
        found = [json.loads(line) for line in os.read(reader, 65536).splitlines()]
    finally:
        os.close(reader)
        os.close(writer)
    assert found
    for one in found:
        assert list(one)[:3] == ["timestamp", "level", "event"]
        del one["timestamp"]
    assert found == kept
