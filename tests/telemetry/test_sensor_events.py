"""The events of a sensor."""

from typing import Any

from netd.telemetry.sensor_events import SensorEvents
from tests.telemetry.clock import Clock


def test_each_source_that_is_spared_is_told_once_a_minute(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = SensorEvents(clock, service="trap")
    for source in ("127.0.0.1", "127.0.0.1", "192.0.2.7"):
        events.visitor_spared(source, "bans.exempt: any")
    assert [(one["service"], one["source"], one["by"], one["number"]) for one in log] == [
        ("trap", "127.0.0.1", "bans.exempt: any", 1),
        ("trap", "192.0.2.7", "bans.exempt: any", 1),
    ]
